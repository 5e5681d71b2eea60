// The document, live: the first event has all of it, the next ones what has changed.

import { complete } from "./document";
import { merge } from "./patch";
import type { Snapshot } from "./types";

export type Health = "connecting" | "live" | "lost";

export interface State {
  health: Health;
  document: Snapshot | null;
  /** Seconds that the server's clock is ahead of the browser's. */
  ahead: number;
  /** When the last event came, by the browser's clock, in seconds. */
  received: number | null;
}

/** The part of EventSource that is used here. */
export interface Source {
  readyState: number;
  addEventListener(type: string, listener: (event: { data?: unknown }) => void): void;
  close(): void;
}

/** The server sends something every 10 s. After so long without it the connection is lost, whatever the browser thinks. */
export const SILENCE = 25;
const RETRY = 3;
const CLOSED = 2;

export class Stream {
  state: State = { health: "connecting", document: null, ahead: 0, received: null };
  private source: Source | null = null;
  private opened = 0;

  constructor(
    private readonly open: () => Source,
    private readonly now: () => number,
    private readonly changed: (state: State) => void,
  ) {}

  start(): void {
    this.source?.close();
    const source = (this.source = this.open());
    this.opened = this.now();
    const mine = (handle: (event: { data?: unknown }) => void) => (event: { data?: unknown }) => {
      if (source === this.source) handle(event);
    };
    source.addEventListener("snapshot", mine((event) => this.receive(JSON.parse(String(event.data)) as Snapshot)));
    source.addEventListener("change", mine((event) => {
      if (this.state.document) this.receive(merge(this.state.document, JSON.parse(String(event.data))));
    }));
    source.addEventListener("ping", mine((event) => this.alive(event.data)));
    source.addEventListener("error", mine(() => this.update({ health: "lost" })));
  }

  /** To be called every second: notices silence, and opens the stream again where the browser does not. */
  check(): void {
    const silent = this.now() - Math.max(this.state.received ?? 0, this.opened);
    if (this.source?.readyState === CLOSED) {
      this.update({ health: "lost" });
      if (this.now() - this.opened >= RETRY) this.start();
    } else if (silent >= SILENCE) {
      this.update({ health: "lost" });
      this.start();
    }
  }

  private receive(sent: Snapshot): void {
    const document = complete(sent);
    this.update({ health: "live", document, received: this.now(), ahead: this.aheadOf(document.at) });
  }

  private alive(data: unknown): void {
    let at: string | undefined;
    try {
      at = (JSON.parse(String(data)) as { at?: string }).at;
    } catch {
      at = undefined;
    }
    const event = { received: this.now(), ...(this.state.document && { health: "live" as const }) };
    this.update(at ? { ...event, ahead: this.aheadOf(at) } : event);
  }

  private aheadOf(at: string): number {
    const server = Date.parse(at) / 1000;
    if (!Number.isFinite(server)) return this.state.ahead;
    const ahead = server - this.now();
    // The way through a tunnel is no difference of the clocks.
    return Math.abs(ahead) < 2 ? 0 : ahead;
  }

  private update(change: Partial<State>): void {
    if (Object.entries(change).every(([key, value]) => this.state[key as keyof State] === value)) return;
    this.state = { ...this.state, ...change };
    this.changed(this.state);
  }
}
