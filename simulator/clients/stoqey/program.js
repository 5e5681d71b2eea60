// What @stoqey/ib sees of a trading day, written to standard output as JSON.
// Usage: program.js API_PORT CONTROL_PORT; the simulator as for insync_family/program.py. NODE_PATH names the
// directory with @stoqey/ib in it.
"use strict";

const { IBApi, EventName } = require("@stoqey/ib");
const net = require("node:net");

const DEADLINE = 10_000;
const CLIENT_ID = 9;
const [BID, ASK, LAST, HALTED, MODEL] = [1, 2, 4, 49, 13];
const [PORT, CONTROL_PORT] = process.argv.slice(2).map(Number);
const STOCK = { symbol: "AAPL", secType: "STK", exchange: "SMART", currency: "USD" };

/** Carries out a command of the simulator's control interface. */
function control(command, ...args) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(CONTROL_PORT, "127.0.0.1");
    let text = "";
    socket.on("error", reject);
    socket.on("data", (data) => {
      text += data;
      if (!text.endsWith("\n")) return;
      socket.end();
      const answer = JSON.parse(text);
      if (answer.ok) resolve(answer.result);
      else reject(new Error(`${command}: ${answer.error}`));
    });
    socket.write(JSON.stringify({ command, arguments: args, mode: null }) + "\n");
  });
}

const price = (bid, ask) =>
  control("set-price", "AAPL", `bid=${bid}`, `ask=${ask}`, `last=${((bid + ask) / 2).toFixed(2)}`);

/** A session with the gateway, and what is seen in it. */
class Session {
  constructor() {
    Object.assign(this, {
      nextId: 0, accounts: [], positions: {}, details: {}, ended: new Set(), chain: {}, expirations: [], ticks: {},
      model: null, bars: 0, head: "", impact: [], orders: {}, executions: {}, commissions: {}, errors: [],
      opened: new Set(), completed: 0, profit: null, waiting: [],
    });
    this.ib = new IBApi({ host: "127.0.0.1", port: PORT });
    const on = (name, hear) => this.ib.on(EventName[name], (...facts) => { hear(...facts); this.look(); });
    on("nextValidId", (id) => (this.nextId = id));
    on("managedAccounts", (list) => (this.accounts = list.split(",")));
    on("error", (_error, code, id) => this.errors.push([id, code]));
    on("info", (_text, code) => this.errors.push([-1, code]));
    on("position", (_account, contract, size) => (this.positions[contract.conId] = size));
    on("positionEnd", () => this.ended.add("positions"));
    on("contractDetails", (id, details) => (this.details[id] ??= []).push(details.contract.conId));
    on("contractDetailsEnd", (id) => this.ended.add(`details ${id}`));
    on("securityDefinitionOptionParameter", (_id, exchange, _under, _class, _multiplier, expirations, strikes) => {
      if (exchange !== "SMART" || expirations.length <= this.expirations.length) return;
      this.expirations = [...expirations].sort();
      this.chain = { expirations: expirations.length, strikes: strikes.length };
    });
    on("securityDefinitionOptionParameterEnd", () => this.ended.add("chain"));
    on("tickPrice", (_id, kind, value) => (this.ticks[kind] = value));
    on("tickGeneric", (_id, kind, value) => (this.ticks[kind] = value));
    on("tickOptionComputation", (_id, kind, _attribute, volatility, delta, _price, _dividend, _gamma, vega) => {
      if (kind === MODEL) this.model = { volatility, delta, vega };
    });
    on("tickSnapshotEnd", (id) => this.ended.add(`snapshot ${id}`));
    on("historicalData", (_id, date) => (date.startsWith("finished") ? this.ended.add("bars") : (this.bars += 1)));
    on("headTimestamp", (_id, moment) => (this.head = moment));
    on("openOrder", (id, _contract, order, state) => {
      if (order.whatIf) this.impact = [state.initMarginAfter, state.equityWithLoanAfter];
      else this.opened.add(id);
    });
    on("openOrderEnd", () => this.ended.add("open orders"));
    on("orderStatus", (id, status, filled, _remaining, average) => (this.orders[id] = { status, filled, average }));
    on("execDetails", (_id, _contract, each) => (this.executions[each.execId] = {
      perm_id: each.permId, side: each.side, shares: each.shares, price: each.price, cumulative: each.cumQty,
    }));
    on("execDetailsEnd", () => this.ended.add("executions"));
    on("commissionReport", (report) => (this.commissions[report.execId] = report.commission));
    on("completedOrder", () => (this.completed += 1));
    on("completedOrdersEnd", () => this.ended.add("completed"));
    on("currentTime", () => this.ended.add("time"));
    on("pnl", (_id, _daily, _unrealized, realized) => (this.profit = realized));
    this.ib.connect(CLIENT_ID);
  }

  /** Wakes those whose condition holds now. */
  look() {
    this.waiting = this.waiting.filter(({ reached, resolve }) => !(reached() && (resolve(), true)));
  }

  until(reached, what) {
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`never came: ${what}; errors ${JSON.stringify(this.errors)}`));
      const timer = setTimeout(late, DEADLINE);
      this.waiting.push({ reached, resolve: () => { clearTimeout(timer); resolve(); } });
      this.look();
    });
  }

  started() {
    return this.until(() => this.nextId && this.accounts.length, "the start of the session");
  }

  place(action, totalQuantity, orderType, others = {}) {
    const id = this.nextId++;
    this.ib.placeOrder(id, STOCK, { action, totalQuantity, orderType, transmit: true, ...others });
    return id;
  }

  stands(id, ...statuses) {
    return this.until(() => statuses.includes(this.orders[id]?.status), `order ${id} ${statuses}`);
  }
}

/** Everything that is asked rather than traded. */
async function data(session) {
  const { ib } = session;
  ib.reqPositions();
  ib.reqContractDetails(1, STOCK);
  ib.reqContractDetails(2, { symbol: "IBM", secType: "STK" });
  ib.reqSecDefOptParams(3, "AAPL", "", "STK", 265598);
  const ends = ["positions", "details 1", "details 2", "chain"];
  await session.until(() => ends.every((each) => session.ended.has(each)), "positions, details and chain");
  const option = {
    symbol: "AAPL", secType: "OPT", exchange: "SMART", currency: "USD", right: "C", strike: 185,
    lastTradeDateOrContractMonth: session.expirations[2],
  };
  ib.reqMktData(4, option, "", true, false);
  await session.until(() => session.ended.has("snapshot 4") && session.model, "greeks");
  ib.reqMktData(5, STOCK, "", false, false);
  await price(100, 100.1);
  const shown = () => [BID, ASK, LAST].map((each) => session.ticks[each]).join(" ");
  await session.until(() => shown() === "100 100.1 100.05", "ticks");
  await control("halt", "AAPL");
  await session.until(() => session.ticks[HALTED] === 1, "halt");
  await control("resume", "AAPL");
  await session.until(() => session.ticks[HALTED] === 0, "end of halt");
  ib.cancelMktData(5);
  ib.reqHistoricalData(6, STOCK, "", "1 D", "5 mins", "TRADES", true, 1, false);
  ib.reqHeadTimestamp(7, STOCK, "TRADES", true, 1);
  await session.until(() => session.ended.has("bars") && session.head, "bars");
  return {
    version: ib.serverVersion,
    accounts: session.accounts,
    positions: { ...session.positions },
    stock: session.details[1][0],
    ambiguous: session.details[2].length,
    chain: session.chain,
    greeks: [0 < session.model.delta && session.model.delta < 1, session.model.vega > 0],
    bars: session.bars,
    head: session.head.slice(0, 4),
  };
}

/** Orders to their ends: market, limit, stop, a bracket, a change, a cancellation, a refusal. */
async function trade(session) {
  const { ib } = session;
  await price(100, 100.1);
  ib.placeOrder(session.nextId, STOCK, {
    action: "BUY", totalQuantity: 100, orderType: "MKT", whatIf: true, transmit: true,
  });
  await session.until(() => session.impact.length, "the impact of an order");
  const market = session.place("BUY", 10, "MKT");
  await session.stands(market, "Submitted");
  await control("advance", "1");
  await session.stands(market, "Filled");
  const stop = session.place("SELL", 10, "STP", { auxPrice: 95 });
  await session.stands(stop, "PreSubmitted");
  const limit = session.place("BUY", 10, "LMT", { lmtPrice: 90 });
  await session.stands(limit, "Submitted");
  ib.placeOrder(limit, STOCK, { action: "BUY", totalQuantity: 10, orderType: "LMT", lmtPrice: 94, transmit: true });
  // The client sends when it likes: the time must not pass before the change has reached the gateway.
  ib.reqCurrentTime();
  await session.until(() => session.ended.has("time"), "the answer after the change of an order");
  await control("advance", "1");
  await price(93.9, 94);
  await control("advance", "2");
  await session.stands(stop, "Filled");
  await session.stands(limit, "Filled");
  const parent = session.place("BUY", 5, "LMT", { lmtPrice: 94, transmit: false });
  const profit = session.place("SELL", 5, "LMT", { lmtPrice: 97, parentId: parent, transmit: false });
  const loss = session.place("SELL", 5, "STP", { auxPrice: 90, parentId: parent });
  await session.stands(loss, "PreSubmitted");
  await control("advance", "1");
  await session.stands(parent, "Filled");
  await price(97, 97.1);
  await control("advance", "1");
  await session.stands(profit, "Filled");
  await session.stands(loss, "Cancelled");
  const refused = session.place("BUY", 10, "LMT", { lmtPrice: 90.001 });
  await session.until(() => session.errors.some(([id, code]) => id === refused && code === 110), "the refusal");
  const cancelled = session.place("BUY", 10, "LMT", { lmtPrice: 90 });
  await session.stands(cancelled, "Submitted");
  ib.cancelOrder(cancelled);
  await session.stands(cancelled, "Cancelled");
  const kept = session.place("BUY", 3, "LMT", { lmtPrice: 80, tif: "GTC" });
  await session.stands(kept, "Submitted");
}

/** What a second session of the same client finds. */
async function again(session, before) {
  const { ib } = session;
  ib.reqAllOpenOrders();
  ib.reqExecutions(20, {});
  ib.reqCompletedOrders(false);
  ib.reqPnL(21, session.accounts[0], "");
  const ends = ["open orders", "executions", "completed"];
  await session.until(() => ends.every((each) => session.ended.has(each)) && session.profit !== null, "what is left");
  const reported = () => Object.keys(session.executions).every((each) => each in session.commissions);
  await session.until(reported, "commissions");
  const [kept] = session.opened;
  ib.cancelOrder(kept);
  // The status comes first, the message after it.
  await session.until(() => session.errors.some(([id, code]) => id === kept && code === 202), "cancellation");
  const same = (one, other) => JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
  return {
    same_executions: same(session.executions, before.executions),
    same_commissions: same(session.commissions, before.commissions),
    found: session.opened.size,
    completed: session.completed,
    realized: session.profit,
  };
}

/** Waits until the gateway has noticed that a client has left; before that its id is in use. */
async function untilGone() {
  const deadline = Date.now() + DEADLINE;
  while ((await control("status")).paper.clients.includes(CLIENT_ID)) {
    if (Date.now() > deadline) throw new Error(`client ${CLIENT_ID} is still connected`);
  }
}

async function main() {
  const first = new Session();
  await first.started();
  const seen = await data(first);
  await trade(first);
  first.ib.disconnect();
  await untilGone();
  const second = new Session();
  await second.started();
  seen.again = await again(second, first);
  second.ib.disconnect();
  seen.impact = first.impact;
  seen.orders = { ...first.orders, ...second.orders };
  seen.executions = first.executions;
  seen.commissions = first.commissions;
  seen.errors = [...first.errors, ...second.errors];
  process.stdout.write(JSON.stringify(seen));
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
