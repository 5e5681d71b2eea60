// The document with every collection in it: what is empty is absent on the way.

import type { Gateway, Manager, Outbox, Position, Profit, Snapshot } from "./types";

type Partly<T> = { [K in keyof T]?: unknown };

const each = <T>(found: unknown, complete: (entry: Partly<T>) => T): Record<string, T> =>
  Object.fromEntries(Object.entries((found ?? {}) as Record<string, Partly<T>>).map(([key, entry]) => [key, complete(entry)]));

/** `defaults` under what was received; the object itself if nothing is missing. */
function filled<T extends object>(received: Partly<T>, defaults: Partial<T>): T {
  const missing = Object.keys(defaults).some((key) => received[key as keyof T] === undefined);
  return (missing ? { ...defaults, ...received } : received) as T;
}

const position = (received: Partly<Position>): Position =>
  filled(received, { text: "", legs: {}, rules: {}, bars: {}, unprotected: { seconds: 0 } });

const gateway = (received: Partly<Gateway>): Gateway => filled(received, { text: "", image: "", tiers: {}, history: [] });

const manager = (received: Partly<Manager>): Manager => ({
  ...filled(received, {
    accounts: [],
    new_accounts: [],
    halts: [],
    degraded: [],
    intents: {},
    orders: {},
    locks: {},
    account_stops: {},
    cooldowns: {},
    exposures: {},
  }),
  profit: filled((received.profit ?? {}) as Partly<Manager["profit"]>, { revision: 0, realized: {}, open: {} }),
  positions: each(received.positions, position),
});

const outbox = (received: Partly<Outbox>): Outbox => filled(received, { pending: 0, failed: 0, items: {} });

export function complete(received: Partly<Snapshot>): Snapshot {
  return {
    ...filled(received, { notes: {}, logs: {}, host: "", release: "", exchange_zone: "America/New_York" }),
    gateways: each(received.gateways, gateway),
    managers: each(received.managers, manager),
    notifications: each(received.notifications, outbox),
  };
}

export const completeProfit = (received: Partly<Profit>): Profit => {
  const found = filled(received, { day: { currencies: {} }, days: {} });
  return found.day.currencies ? found : { ...found, day: { ...found.day, currencies: {} } };
};
