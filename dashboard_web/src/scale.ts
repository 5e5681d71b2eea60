// Where the marks of a rule bar are. The side on which the position loses is always left, also for short positions. Pure.

import { num } from "./format";
import type { Bar, Mark } from "./types";

export interface Placed {
  id: string;
  kind: Mark["kind"] | "entry";
  name: string;
  level: number;
  /** From the left, in percent. */
  at: number;
  row: "top" | "low" | "none";
}

export interface Scale {
  marks: Placed[];
  now: number | null;
  entry: number | null;
  /** The right end of the part where a stop closes; null without a stop. */
  stop: number | null;
  /** The left end of the part where a target closes. */
  target: number | null;
  flipped: boolean;
}

const NAMES: Record<Placed["kind"], string> = {
  stop: "Stop",
  trailing: "Trail",
  breakeven: "Even",
  target: "Target",
  entry: "Entry",
  other: "Rule",
};
const MARGIN = 0.07;
/** Labels nearer to each other than this, in percent, would overlap on a phone. */
const ROOM = 15;

const isTarget = (mark: Mark): boolean => mark.kind === "target";

/** +1 if a higher value is better for the position, -1 if a lower one is. */
function direction(bar: Bar, quantity: number): number {
  const now = num(bar.now);
  for (const mark of Object.values(bar.marks)) {
    const distance = num(mark.distance);
    if (now === null || !distance || mark.level === now) continue;
    const towards = isTarget(mark) ? mark.level - now : now - mark.level;
    return Math.sign(towards * distance);
  }
  return quantity < 0 ? -1 : 1;
}

export function scale(bar: Bar, quantity: number): Scale {
  const sign = direction(bar, quantity);
  const now = num(bar.now);
  const entry = num(bar.entry);
  const levels = [...Object.values(bar.marks).map((mark) => mark.level), now, entry].filter((value): value is number => value !== null);
  const low = Math.min(...levels);
  const high = Math.max(...levels);
  const span = high - low || Math.abs(high) * 0.02 || 1;
  const at = (value: number): number => {
    const fraction = MARGIN + ((value - low) / span) * (1 - 2 * MARGIN);
    return 100 * (sign > 0 ? fraction : 1 - fraction);
  };
  const marks: Placed[] = Object.entries(bar.marks).map(([id, mark]) => ({
    id,
    kind: mark.kind,
    name: NAMES[mark.kind] ?? NAMES.other,
    level: mark.level,
    at: at(mark.level),
    row: "top",
  }));
  if (entry !== null) marks.push({ id: "entry", kind: "entry", name: NAMES.entry, level: entry, at: at(entry), row: "top" });
  marks.sort((one, other) => one.at - other.at);
  separate(marks);
  const stops = marks.filter((mark) => mark.kind === "stop" || mark.kind === "trailing").map((mark) => mark.at);
  const targets = marks.filter((mark) => mark.kind === "target").map((mark) => mark.at);
  return {
    marks,
    now: now === null ? null : at(now),
    entry: entry === null ? null : at(entry),
    stop: stops.length ? Math.max(...stops) : null,
    target: targets.length ? Math.min(...targets) : null,
    flipped: sign < 0,
  };
}

/** Give each label a row in which it does not cover another; a third at one place is in the list below the bar only. */
function separate(marks: Placed[]): void {
  const last = { top: -Infinity, low: -Infinity };
  for (const mark of marks) {
    if (mark.at - last.top >= ROOM) mark.row = "top";
    else if (mark.at - last.low >= ROOM) mark.row = "low";
    else mark.row = "none";
    if (mark.row !== "none") last[mark.row] = mark.at;
  }
}

/** How much of the way from the entry to the nearest stop is used up, 1 and more once it is reached; null without one. */
export function used(bar: Bar, quantity: number): number | null {
  const sign = direction(bar, quantity);
  const now = num(bar.now);
  const entry = num(bar.entry);
  const stops = Object.values(bar.marks).filter((mark) => mark.kind === "stop" || mark.kind === "trailing");
  if (now === null || entry === null || stops.length === 0) return null;
  const nearest = Math.max(...stops.map((mark) => mark.level * sign));
  const whole = entry * sign - nearest;
  return whole > 0 ? (entry - now) * sign / whole : null;
}
