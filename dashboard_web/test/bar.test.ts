import assert from "node:assert/strict";
import { test } from "node:test";
import { scale, used } from "../src/scale";
import type { Bar, Mark } from "../src/types";

const mark = (kind: Mark["kind"], level: number, distance: number): Mark => ({ rule: kind, kind, level, distance });
const long: Bar = { subject: "price", now: 105, entry: 100, marks: { stop: mark("stop", 90, 15), target: mark("target", 120, 15) } };
const short: Bar = { subject: "price", now: 95, entry: 100, marks: { stop: mark("stop", 110, 15), target: mark("target", 80, 15) } };

const order = (bar: Bar, quantity: number) => scale(bar, quantity).marks.map(({ id }) => id).join(" ");

test("the stop is left and the target right, for a short position too", () => {
  assert.equal(order(long, 1), "stop entry target");
  assert.equal(order(short, -1), "stop entry target");
  assert.equal(scale(short, -1).flipped, true);
});

test("a stop that is passed is still on its side", () => {
  const passed = { ...long, now: 89, marks: { stop: mark("stop", 90, -1) } };
  const drawn = scale(passed, 1);
  assert.ok((drawn.now as number) < (drawn.stop as number));
});

test("the side comes from the distances, not from the sign of the quantity", () => {
  const condor: Bar = { subject: "price", now: -1.1, entry: -1.85, marks: { stop: mark("stop", -5.55, 4.45), target: mark("target", -0.93, 0.17) } };
  assert.equal(order(condor, 2), "stop entry target");
  const delta: Bar = { subject: "delta", now: 0.18, marks: { delta: mark("stop", 0.3, 0.12) } };
  const drawn = scale(delta, -1);
  assert.ok((drawn.stop as number) < (drawn.now as number));
});

test("every mark is on the bar, and labels that would overlap have rows of their own", () => {
  const crowded = { ...long, marks: { stop: mark("stop", 99, 6), trailing: mark("trailing", 99.5, 5.5), target: mark("target", 120, 15) } };
  const { marks } = scale(crowded, 1);
  for (const { at } of marks) assert.ok(at > 0 && at < 100);
  assert.deepEqual(marks.map(({ row }) => row), ["top", "low", "none", "top"]);
});

test("a bar whose levels are all equal can be drawn", () => {
  const flat = scale({ subject: "price", now: 5, entry: 5, marks: { breakeven: mark("breakeven", 5, 0) } }, 1);
  for (const { at } of flat.marks) assert.ok(Number.isFinite(at));
});

test("how near the stop is, between entry and stop", () => {
  assert.equal(used({ ...long, now: 92.5 }, 1), 0.75);
  assert.equal(used({ ...short, now: 110 }, -1), 1);
  assert.equal(used({ subject: "price", now: 1, marks: {} }, 1), null);
});
