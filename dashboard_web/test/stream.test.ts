import assert from "node:assert/strict";
import { test } from "node:test";
import { merge } from "../src/patch";
import { SILENCE, Stream, type Source } from "../src/stream";

class FakeSource implements Source {
  readyState = 1;
  closed = false;
  private readonly listeners = new Map<string, (event: { data?: unknown }) => void>();
  addEventListener(type: string, listener: (event: { data?: unknown }) => void): void {
    this.listeners.set(type, listener);
  }
  close(): void {
    this.closed = true;
  }
  send(type: string, data?: object): void {
    this.listeners.get(type)?.(data ? { data: JSON.stringify(data) } : {});
  }
}

function started() {
  const sources: FakeSource[] = [];
  const clock = { now: 1000 };
  const stream = new Stream(
    () => {
      const source = new FakeSource();
      sources.push(source);
      return source;
    },
    () => clock.now,
    () => undefined,
  );
  stream.start();
  return { stream, sources, clock, last: () => sources[sources.length - 1] as FakeSource };
}

const at = (seconds: number) => new Date(seconds * 1000).toISOString();

test("a patch replaces, adds and removes, and shares what it does not name", () => {
  const before = { a: { b: 1, c: [1, 2] }, d: { e: 1 } };
  const after = merge(before, { a: { b: null, c: [3], f: 2 } });
  assert.deepEqual(after, { a: { c: [3], f: 2 }, d: { e: 1 } });
  assert.equal(after.d, before.d);
});

test("a snapshot makes the page live, and changes are merged into it", () => {
  const { stream, last } = started();
  assert.equal(stream.state.health, "connecting");
  last().send("snapshot", { at: at(1000), revision: 1, host: "a" });
  last().send("change", { revision: 2, host: "b" });
  assert.equal(stream.state.health, "live");
  assert.equal(stream.state.document?.host, "b");
});

test("a change before the snapshot is no document", () => {
  const { stream, last } = started();
  last().send("change", { revision: 2 });
  assert.equal(stream.state.document, null);
});

test("a stream that ends is lost at once, and what was received remains", () => {
  const { stream, last } = started();
  last().send("snapshot", { at: at(1000), revision: 1 });
  last().send("error");
  assert.equal(stream.state.health, "lost");
  assert.equal(stream.state.document?.revision, 1);
});

test("silence is a lost stream too: it is opened again", () => {
  const { stream, sources, clock, last } = started();
  last().send("snapshot", { at: at(1000), revision: 1 });
  clock.now += SILENCE - 1;
  stream.check();
  assert.equal(stream.state.health, "live");
  last().send("ping", { at: at(clock.now) });
  clock.now += SILENCE;
  stream.check();
  assert.equal(stream.state.health, "lost");
  assert.equal(sources.length, 2);
  assert.equal(sources[0]?.closed, true);
  last().send("snapshot", { at: at(clock.now), revision: 5 });
  assert.equal(stream.state.health, "live");
});

test("a stream that the browser has closed is opened again", () => {
  const { stream, sources, clock, last } = started();
  last().readyState = 2;
  stream.check();
  assert.equal(stream.state.health, "lost");
  assert.equal(sources.length, 1);
  clock.now += 3;
  stream.check();
  assert.equal(sources.length, 2);
});

test("events of a stream that was replaced are ignored", () => {
  const { stream, sources, last } = started();
  stream.start();
  sources[0]?.send("snapshot", { at: at(1000), revision: 1 });
  assert.equal(stream.state.document, null);
  last().send("snapshot", { at: at(1000), revision: 2 });
  assert.equal(stream.state.document?.["revision"], 2);
});

test("a wrong clock of the browser is corrected by the server's", () => {
  const { stream, last } = started();
  last().send("snapshot", { at: at(4600), revision: 1 });
  assert.equal(stream.state.ahead, 3600);
  last().send("ping", { at: at(1001) });
  assert.equal(stream.state.ahead, 0);
});
