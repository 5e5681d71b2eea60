import assert from "node:assert/strict";
import { test } from "node:test";
import { complete, completeProfit } from "../src/document";

test("what is absent is an empty collection", () => {
  const found = complete({ at: "2026-11-30T12:00:00Z", managers: { m: { name: "m", positions: { p: { name: "MSFT" } } } } });
  assert.deepEqual(found.gateways, {});
  assert.deepEqual(found.managers["m"]?.halts, []);
  assert.deepEqual(found.managers["m"]?.positions["p"]?.bars, {});
  assert.equal(found.managers["m"]?.profit.revision, 0);
});

test("what is there remains", () => {
  const history = [{ from: "2026-11-30T12:00:00Z", state: "down" }];
  assert.equal(complete({ gateways: { g: { history } } }).gateways["g"]?.history, history);
});

test("a profit without a day", () => {
  assert.deepEqual(completeProfit({ manager: "m", days: {} }).day, { currencies: {} });
});
