import { useMemo, useState } from "preact/hooks";
import { duration, epoch, percent, weekday, words } from "./format";
import { Screen } from "./screen";
import { availability, DAYS, known, LABELS, place, segments, STATES, summary, totals, type Segment } from "./strip";
import type { Gateway, StripState } from "./types";
import { Countdown, Fact, Section, Sign, Time, useView, type Kind } from "./ui";

const KINDS: Record<StripState, Kind> = {
  ready: "good",
  approval: "warn",
  link_lost: "link",
  down: "bad",
  restart: "info",
  unknown: "none",
};

const TIERS: [string, string][] = [
  ["listening", "Listening"],
  ["answering", "Answering"],
  ["verified", "Verified"],
  ["connected", "Connected to IBKR"],
];

/** The present state is held at the right end, where it is seen however short it is. */
const edge = (segment: Segment, now: number) => (segment.to === now ? { right: "0%" } : { left: `${place(segment.from, now)}%` });

export const stateSign = (gateway: Gateway) => (
  <Sign kind={KINDS[known(gateway.state)]}>{LABELS[known(gateway.state)]}</Sign>
);

function Strip({ gateway }: { gateway: Gateway }) {
  const { now, zone } = useView();
  // A minute is less than a pixel of the strip.
  const minute = Math.floor(now / 60) * 60 + 60;
  const found = useMemo(() => segments(gateway.history, minute), [gateway.history, minute]);
  const midnights = useMemo(() => {
    const first = minute - DAYS * 86400;
    const list: number[] = [];
    let before = weekday(first, zone);
    for (let at = Math.ceil(first / 1800) * 1800; at < minute; at += 1800) {
      const name = weekday(at, zone);
      if (name !== before) list.push(at);
      before = name;
    }
    return list;
  }, [minute, zone]);
  const ready = availability(found);
  return (
    <div>
      <div class="line small">
        <h4>Last 7 days</h4>
        <span class="muted end">{ready === null ? "nothing recorded yet" : `ready ${percent(ready).replace("+", "")} of the recorded time`}</span>
      </div>
      <div class="strip" role="img" aria-label={summary(found)}>
        {found.map((segment) => (
          <i
            key={segment.from}
            class={segment.state}
            title={`${LABELS[segment.state]}, ${duration(segment.to - segment.from)}`}
            style={{ ...edge(segment, minute), width: `${place(segment.to, minute) - place(segment.from, minute)}%` }}
          />
        ))}
        {midnights.map((at) => <i key={`m${at}`} class="midnight" style={{ left: `${place(at, minute)}%` }} />)}
      </div>
      <div class="days" aria-hidden="true">
        {midnights.map((at) => place(at, minute) < 95 && (
          <span key={at} style={{ left: `${place(at, minute)}%` }}>{weekday(at, zone)}</span>
        ))}
      </div>
      <details>
        <summary>The last 7 days as a list</summary>
        <ul class="rules">
          {totals(found).map((total) => (
            <li key={total.state}>{LABELS[total.state]}: {duration(total.seconds)}, {total.times === 1 ? "once" : `${total.times} times`}</li>
          ))}
        </ul>
        <div class="scroll" tabIndex={0} role="region" aria-label={`History of ${gateway.name}`}>
          <table>
            <thead><tr><th scope="col">From</th><th scope="col">State</th><th scope="col">For</th></tr></thead>
            <tbody>
              {[...found].reverse().map((segment) => (
                <tr key={segment.from}>
                  <td><Time at={segment.from} /></td>
                  <td>{LABELS[segment.state]}</td>
                  <td>{duration(segment.to - segment.from)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </div>
  );
}

function Breaker({ gateway }: { gateway: Gateway }) {
  const { breaker } = gateway;
  if (!breaker) return <Fact name="Login breaker" value={<Sign kind="none" plain>Not known</Sign>} />;
  const refusals = Object.entries(breaker.refusals).map(([cause, count]) => `${words(cause).toLowerCase()} ${count}`);
  const counted = refusals.length ? `${refusals.join(", ")} of ${breaker.limit}` : "no refused login";
  return (
    <Fact name="Login breaker" value={breaker.open ? <Sign kind="bad" plain>Open: no login is tried</Sign> : <Sign kind={refusals.length ? "warn" : "good"} plain>Closed</Sign>}>
      {breaker.open && breaker.text ? `${breaker.text} ` : ""}{counted}
    </Fact>
  );
}

/** Whether the login has a second factor is known once there was one. */
export const approvalUnknown = (gateway: Gateway): boolean => gateway.session?.twofa === undefined && !gateway.automatic_codes;

function Approval({ gateway }: { gateway: Gateway }) {
  if (gateway.next_approval) return <Countdown at={gateway.next_approval} />;
  return <>{approvalUnknown(gateway) ? "Not known before a login" : "None is needed"}</>;
}

function GatewayCard({ gateway }: { gateway: Gateway }) {
  const [screen, setScreen] = useState(false);
  const { session, support } = gateway;
  const title = `gateway-${gateway.name}`;
  return (
    <article class="gateway" aria-labelledby={title}>
      <div class="line">
        <h3 id={title}>{gateway.name}</h3>
        <Mode mode={gateway.mode} />
        {stateSign(gateway)}
        <span class="muted">{gateway.text}{gateway.since && <> · since <Time at={gateway.since} /></>}</span>
        {gateway.screen && (
          <button class="button end" type="button" onClick={() => setScreen(true)}>
            Show the screen<span class="hidden"> of {gateway.name}</span>
          </button>
        )}
      </div>
      <ul class="steps" aria-label="Tiers">
        {TIERS.map(([key, name]) => {
          const tier = gateway.tiers[key];
          return (
            <li key={key} title={tier?.text}>
              <Sign kind={tier?.ok === undefined ? "none" : tier.ok ? "good" : "bad"}>
                {name}<span class="hidden">: {tier?.ok === undefined ? "not known" : tier.ok ? "yes" : "no"}, {tier?.text}</span>
              </Sign>
            </li>
          );
        })}
      </ul>
      <dl class="facts">
        <Fact name="Login" value={gateway.login ? words(gateway.login.state) : "Not known"}>{gateway.login?.text}</Fact>
        <Fact name="Next restart" value={<Countdown at={gateway.next_restart?.at} />}>
          {gateway.next_restart ? <><Time at={gateway.next_restart.at} /> · {words(gateway.next_restart.kind)}</> : "none is planned"}
        </Fact>
        <Fact name="Next approval" value={<Approval gateway={gateway} />}>
          {gateway.next_approval ? <Time at={gateway.next_approval} /> : ""}{gateway.automatic_codes ? " codes are entered automatically" : ""}
        </Fact>
        <Fact name="Session at IBKR" value={session?.end ? <>ends <Countdown at={session.end} /></> : "Not known"}>
          {session?.since && <>since <Time at={session.since} /></>}
        </Fact>
        <Fact name="Image" value={gateway.image.replace(/^.*\//, "")}>
          {support ? <Sign kind={support.over ? "bad" : "warn"} plain>{support.over ? "support has ended" : `support ends ${support.desupported_on}, in ${support.days_left} days`}</Sign> : "support does not end soon"}
        </Fact>
        <Breaker gateway={gateway} />
      </dl>
      <Strip gateway={gateway} />
      {screen && <Screen gateway={gateway.name} close={() => setScreen(false)} />}
    </article>
  );
}

export function Mode({ mode }: { mode: string }) {
  return <Sign kind={mode === "live" || mode === "both" ? "warn" : "none"}>{mode === "live" ? "LIVE" : mode}</Sign>;
}

export function Gateways({ gateways }: { gateways: Gateway[] }) {
  const ready = gateways.filter((gateway) => gateway.state === "ready").length;
  return (
    <Section id="gateways" title="Gateways" note={gateways.length ? `${ready} of ${gateways.length} ready` : undefined}>
      {gateways.length === 0 && <p class="empty">There is no gateway on this machine.</p>}
      {gateways.map((gateway) => <GatewayCard key={gateway.name} gateway={gateway} />)}
      {gateways.length > 0 && (
        <ul class="legend body" aria-label="Signs of the strip">
          {STATES.map((state) => <li key={state}><i class={`swatch ${state}`} />{LABELS[state]}</li>)}
        </ul>
      )}
    </Section>
  );
}

export const nextOf = (times: (string | undefined)[]): string | undefined =>
  times.filter((time): time is string => epoch(time) !== null).sort((one, other) => Date.parse(one) - Date.parse(other))[0];
