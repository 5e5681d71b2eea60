// The last seven days of a gateway as a strip, and in words. Pure.

import { duration, epoch } from "./format";
import type { Period, StripState } from "./types";

export const DAYS = 7;
const DAY = 86400;

export const LABELS: Record<StripState, string> = {
  ready: "Ready",
  approval: "Waiting for approval",
  link_lost: "Link to IBKR lost",
  down: "Down",
  restart: "Restart",
  unknown: "Not recorded",
};

export const STATES = Object.keys(LABELS) as StripState[];

export interface Segment {
  state: StripState;
  from: number;
  to: number;
}

/** The history within the last seven days, as segments without a gap. */
export function segments(history: readonly Period[], now: number): Segment[] {
  const start = now - DAYS * DAY;
  const found: Segment[] = [];
  const first = epoch(history[0]?.from) ?? now;
  if (first > start) found.push({ state: "unknown", from: start, to: Math.min(first, now) });
  history.forEach((period, index) => {
    const from = Math.max(epoch(period.from) ?? start, start);
    const to = Math.min(epoch(history[index + 1]?.from) ?? now, now);
    if (to > from) found.push({ state: known(period.state), from, to });
  });
  return found;
}

/** A state that only a newer server knows is shown as one that was not recorded. */
export function known(state: string): StripState {
  return state in LABELS ? (state as StripState) : "unknown";
}

/** Where a moment is on the strip, in percent. */
export function place(at: number, now: number): number {
  return Math.min(100, Math.max(0, ((at - (now - DAYS * DAY)) / (DAYS * DAY)) * 100));
}

export interface Total {
  state: StripState;
  seconds: number;
  times: number;
}

/** How long and how often each state was, the present order of the legend. */
export function totals(found: readonly Segment[]): Total[] {
  return STATES.map((state) => {
    const mine = found.filter((segment) => segment.state === state);
    return { state, times: mine.length, seconds: mine.reduce((sum, segment) => sum + segment.to - segment.from, 0) };
  }).filter((total) => total.times > 0);
}

/** The strip in one sentence, for those who do not see it. */
export function summary(found: readonly Segment[]): string {
  const parts = totals(found).map(({ state, seconds, times }) => {
    const often = times > 1 ? `, ${times} times` : "";
    return `${LABELS[state].toLowerCase()} ${duration(seconds)}${state === "ready" ? "" : often}`;
  });
  return `The last 7 days: ${parts.join("; ")}.`;
}

/** The part of the recorded time in which the gateway was ready, as a fraction; null if nothing was recorded. */
export function availability(found: readonly Segment[]): number | null {
  const recorded = found.filter((segment) => segment.state !== "unknown");
  const length = (list: readonly Segment[]) => list.reduce((sum, segment) => sum + segment.to - segment.from, 0);
  return recorded.length ? length(recorded.filter((segment) => segment.state === "ready")) / length(recorded) : null;
}
