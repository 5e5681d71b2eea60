import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { getJson, reason } from "./api";
import { price, quantity, words } from "./format";
import { Explain } from "./explain";
import type { Manager, Order } from "./types";
import { Section, Sign, Time, type Kind } from "./ui";

function kind(order: Order): Kind {
  if (order.state === "FILLED") return "good";
  if (!order.done) return "info";
  return order.state === "REJECTED" || order.state === "LOST" ? "bad" : "none";
}

export function Orders({ manager, title }: { manager: Manager; title: string }) {
  const [older, setOlder] = useState<Order[]>([]);
  const [more, setMore] = useState(true);
  const [problem, setProblem] = useState("");
  const known = new Map([...older, ...Object.values(manager.orders)].map((order) => [order.id, order]));
  const orders = [...known.values()].sort((one, other) => (one.id < other.id ? 1 : -1));
  const last = orders[orders.length - 1];
  const load = async (): Promise<void> => {
    try {
      const page = await getJson<{ orders: Order[]; more: boolean }>("orders", { manager: manager.name, before: last?.id });
      setOlder([...older, ...page.orders]);
      setMore(page.more);
      setProblem("");
    } catch (error) {
      setProblem(reason(error));
    }
  };
  const id = `orders-${manager.name}`;
  return (
    <Section id={id} title={title} note={manager.orders_today === undefined ? undefined : `${manager.orders_today} sent in the last 24 hours`}>
      {orders.length === 0 ? <p class="empty">No order was sent yet.</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label={`List of ${title.toLowerCase()}`}>
          <table class="stack">
            <thead>
              <tr>
                <th scope="col">Time</th><th scope="col">Order</th><th scope="col" class="right">Limit</th>
                <th scope="col" class="right">Filled</th><th scope="col">State</th><th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {orders.map((order) => (
                <Fragment key={order.id}>
                  <tr>
                    <td data-label="Time" class="number"><Time at={order.created} seconds /></td>
                    <td data-label="Order">{order.side} {quantity(order.quantity)} {order.label}</td>
                    <td data-label="Limit" class="right number">{price(order.limit)}</td>
                    <td data-label="Filled" class="right number">{quantity(order.filled)}{order.average !== undefined && ` at ${price(order.average)}`}</td>
                    <td data-label="State"><Sign kind={kind(order)} plain>{words(order.state)}</Sign></td>
                    <td class="whole">{words(order.rule)}{order.reason && `: ${order.reason}`}
                      <Explain manager={manager.name} what={{ order: order.id }} name={`the order of ${order.label}`} />
                    </td>
                  </tr>
                </Fragment>
              ))}
            </tbody>
          </table>
          {more && orders.length >= 30 && <p class="body"><button class="button" type="button" onClick={() => void load()}>Older orders</button></p>}
        </div>
      )}
      <p role="status" class="small">{problem}</p>
    </Section>
  );
}
