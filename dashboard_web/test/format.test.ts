import assert from "node:assert/strict";
import { test } from "node:test";
import { amount, clock, duration, epoch, fromNow, money, NONE, num, percent, price, signedQuantity, when, words, zoneName } from "../src/format";

test("what is not known is no number", () => {
  assert.equal(num(1.25), 1.25);
  for (const nothing of [null, undefined, NaN]) assert.equal(num(nothing), null);
});

test("prices have two digits at least and four at most", () => {
  assert.equal(price(190), "190.00");
  assert.equal(price(0.00255), "0.0026");
  assert.equal(price(1234.5), "1,234.50");
  assert.equal(price(null), NONE);
});

test("money shows its sign, so that colour is not the only one", () => {
  assert.equal(money(120.5, "USD"), "+120.50 USD");
  assert.equal(money(-3), "\u22123.00");
  assert.equal(money(-0.001), "0.00");
  assert.equal(amount(120.5), "120.50");
  assert.equal(signedQuantity(-2), "\u22122");
  assert.equal(percent(0.1234), "+12.3 %");
});

test("durations have two units", () => {
  assert.equal(duration(0), "0 s");
  assert.equal(duration(65), "1 min 5 s");
  assert.equal(duration(3600), "1 h");
  assert.equal(duration(2 * 86400 + 4 * 3600 + 59 * 60), "2 d 4 h");
});

test("a countdown has seconds in its last ten minutes only", () => {
  assert.equal(fromNow(1000 + 125, 1000), "in 2 min 5 s");
  assert.equal(fromNow(1000 + 3725, 1000), "in 1 h 2 min");
  assert.equal(fromNow(1000 - 12, 1000), "12 s ago");
  assert.equal(fromNow(1000, 1000), "now");
});

test("times are written in the zone that is asked for", () => {
  const noon = epoch("2026-01-15T17:00:00Z") as number;
  assert.equal(clock(noon, "America/New_York"), "12:00:00");
  assert.equal(clock(noon, "Europe/Vienna", false), "18:00");
  assert.equal(when(noon, noon, "UTC"), "17:00");
  assert.equal(when(noon, noon + 86400, "UTC"), "Thu 15 Jan, 17:00");
  assert.equal(zoneName("America/New_York", noon), "EST");
  assert.equal(epoch("no time"), null);
});

test("states are written in words", () => {
  assert.equal(words("AWAITING_2FA"), "Awaiting 2FA");
  assert.equal(words("link_lost"), "Link lost");
});
