// Small parts that every section uses.

import { createContext, type ComponentChildren } from "preact";
import { useContext, useErrorBoundary } from "preact/hooks";
import { fromNow, epoch, NONE, when } from "./format";

export interface View {
  /** The present, by the server's clock, in seconds. */
  now: number;
  /** The zone that times are shown in; undefined is the browser's. */
  zone: string | undefined;
  dark: boolean;
}

export const ViewContext = createContext<View>({ now: 0, zone: undefined, dark: false });
export const useView = (): View => useContext(ViewContext);

export type Kind = "good" | "bad" | "warn" | "info" | "link" | "none";

const PATHS: Record<Kind, string> = {
  good: "M3 8.5l3.2 3.2L13 5",
  bad: "M4 4l8 8M12 4l-8 8",
  warn: "M8 2.2L14.6 14H1.4zM8 6.5v3.4M8 11.6v.6",
  info: "M13 8a5 5 0 1 1-1.6-3.7M13 2.4v3h-3",
  link: "M2 8h3.5M10.5 8H14M7 4.5L9 11.5",
  none: "M4 8h8",
};

/** A state as a shape with a word; the colour is only in addition. */
export function Sign({ kind, plain, children }: { kind: Kind; plain?: boolean; children: ComponentChildren }) {
  return (
    <span class={`sign ${kind}${plain ? " plain" : ""}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">
        <path d={PATHS[kind]} />
      </svg>
      <span>{children}</span>
    </span>
  );
}

export function Time({ at, seconds }: { at: string | number | undefined; seconds?: boolean }) {
  const { now, zone } = useView();
  const moment = epoch(at);
  if (moment === null) return <span>{NONE}</span>;
  return <time datetime={new Date(moment * 1000).toISOString()}>{when(moment, now, zone, seconds)}</time>;
}

/** How far away a moment is. It changes each second, so it is in no live region. */
export function Countdown({ at }: { at: string | undefined }) {
  const { now } = useView();
  const moment = epoch(at);
  return <span class="number">{moment === null ? NONE : fromNow(moment, now)}</span>;
}

export function Fact({ name, value, children }: { name: string; value: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
      {children !== undefined && <dd>{children}</dd>}
    </div>
  );
}

export function Section({ id, title, note, children }: { id: string; title: string; note?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="section" id={id} aria-labelledby={`${id}-title`} tabIndex={-1}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {note !== undefined && <span class="note">{note}</span>}
      </header>
      {children}
    </section>
  );
}

/** Words for a gain or a loss, with its sign. */
export const tone = (value: number | undefined): string => (!value ? "" : value > 0 ? "gain" : "loss");

/** A part that cannot be drawn shows the error in its place; the other parts remain. A service of another release may send other data. */
export function Part({ name, children }: { name: string; children: ComponentChildren }) {
  const [error, again] = useErrorBoundary();
  if (error === undefined || error === null) return <>{children}</>;
  return (
    <p class="notice bad" role="alert">
      {name} cannot be drawn: {error instanceof Error ? error.message : String(error)}. Load the page again; if this remains, the page and
      the services are of different releases: run site.yml.{" "}
      <button class="text-button" type="button" onClick={again}>Draw again</button>
    </p>
  );
}
