import assert from "node:assert/strict";
import { test } from "node:test";
import { availability, place, segments, summary } from "../src/strip";
import type { Period } from "../src/types";

const NOW = Date.parse("2026-11-30T12:00:00Z") / 1000;
const DAY = 86400;
const iso = (seconds: number) => new Date(seconds * 1000).toISOString();

test("the strip has no gap: what was not recorded is a state of its own", () => {
  const history: Period[] = [{ from: iso(NOW - DAY), state: "ready" }, { from: iso(NOW - 3600), state: "down" }];
  const found = segments(history, NOW);
  assert.deepEqual(found.map(({ state }) => state), ["unknown", "ready", "down"]);
  assert.equal(found[0]?.from, NOW - 7 * DAY);
  for (const [index, segment] of found.entries()) assert.equal(segment.to, found[index + 1]?.from ?? NOW);
});

test("what is older than seven days is cut off", () => {
  const found = segments([{ from: iso(NOW - 30 * DAY), state: "ready" }], NOW);
  assert.deepEqual(found, [{ state: "ready", from: NOW - 7 * DAY, to: NOW }]);
});

test("without a history, and with a state of a newer server", () => {
  assert.deepEqual(segments([], NOW).map(({ state }) => state), ["unknown"]);
  const newer = [{ from: iso(NOW - DAY), state: "sleeping" }] as unknown as Period[];
  assert.deepEqual(segments(newer, NOW).map(({ state }) => state), ["unknown", "unknown"]);
});

test("the strip in words", () => {
  const history: Period[] = [{ from: iso(NOW - 7 * DAY), state: "ready" }, { from: iso(NOW - 3600), state: "down" }];
  const found = segments(history, NOW);
  assert.equal(summary(found), "The last 7 days: ready 6 d 23 h; down 1 h.");
  assert.equal(availability(found), 1 - 3600 / (7 * DAY));
  assert.equal(availability(segments([], NOW)), null);
});

test("places are within the strip", () => {
  assert.equal(place(NOW, NOW), 100);
  assert.equal(place(NOW - 9 * DAY, NOW), 0);
});
