import assert from "node:assert/strict";
import { test } from "node:test";
import { points } from "../src/attention";
import { merge } from "../src/patch";
import type { Snapshot } from "../src/types";

const NOW = Date.parse("2026-11-30T12:00:00Z") / 1000;
const GATEWAY = { name: "g", state: "ready", text: "ready", tiers: {}, history: [] };
const MANAGER = { name: "m", running: true, phase: "READY", halts: [], degraded: [], new_accounts: [], positions: {}, locks: {} };
const QUIET = { notes: {}, gateways: { g: GATEWAY }, managers: { m: MANAGER }, notifications: {} } as unknown as Snapshot;

const found = (patch: object) => points(merge(QUIET, patch), NOW).map(({ severity, subject, text }) => `${severity} ${subject}: ${text}`);

test("no point while all is OK", () => {
  assert.deepEqual(found({}), []);
});

test("a login that waits, a gateway that is down, a breaker that is open", () => {
  assert.deepEqual(found({ gateways: { g: { state: "approval", text: "Approve it" } } }), ["bad g: Approve it"]);
  assert.deepEqual(found({ gateways: { g: { state: "down", text: "it stopped" } } }), ["bad g: it stopped"]);
  const open = { open: true, text: "3 refused logins", refusals: {}, limit: 3 };
  assert.deepEqual(found({ gateways: { g: { state: "down", breaker: open } } }), ["bad g: 3 refused logins"]);
});

test("an unprotected position, with how long, but not in a closed market", () => {
  const position = { name: "MSFT", verdict: "unprotected", text: "no quote", unprotected: { since: "2026-11-30T11:00:00Z", seconds: 3600 } };
  assert.deepEqual(found({ managers: { m: { positions: { p: position } } } }), ["bad MSFT: Unprotected for 1 h: no quote"]);
  assert.deepEqual(found({ managers: { m: { positions: { p: { ...position, market_open: false } } } } }), []);
});

test("an account that nobody has accepted is not guarded", () => {
  assert.deepEqual(found({ managers: { m: { new_accounts: ["DU*****02"] } } }), ["bad m: Account DU*****02 is not guarded until it is accepted."]);
});

test("a halt is reported once, and urgent points are first", () => {
  const halted = { phase: "HALTED", halts: ["kill switch"], why: "halted" };
  const lost = { state: "link_lost", text: "IBKR is away" };
  assert.deepEqual(found({ gateways: { g: lost }, managers: { m: halted } }), ["bad m: kill switch", "warn g: IBKR is away"]);
});
