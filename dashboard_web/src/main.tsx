import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { points } from "./attention";
import { Curves } from "./curves";
import { clock, duration, epoch, money, words, zoneName } from "./format";
import { approvalUnknown, Gateways, Mode, nextOf, stateSign } from "./gateways";
import { Logs } from "./logs";
import { Notifications } from "./notifications";
import { Orders } from "./orders";
import { Positions, useAnnouncement } from "./positions";
import { Stream, type State } from "./stream";
import type { Dict, Manager, Snapshot } from "./types";
import { Countdown, Part, Section, Sign, Time, tone, useView, ViewContext } from "./ui";

const ZONE_KEY = "zone";

function useStream(): State {
  const [state, setState] = useState<State>({ health: "connecting", document: null, ahead: 0, received: null });
  useEffect(() => {
    const stream = new Stream(() => new EventSource("/api/events"), () => Date.now() / 1000, setState);
    stream.start();
    const timer = setInterval(() => stream.check(), 1000);
    return () => clearInterval(timer);
  }, []);
  return state;
}

/** The second of the wall clock; nothing ticks while nobody sees the page. */
function useSecond(): number {
  const [second, setSecond] = useState(() => Math.floor(Date.now() / 1000));
  useEffect(() => {
    const tick = (): void => {
      if (!document.hidden) setSecond(Math.floor(Date.now() / 1000));
    };
    const timer = setInterval(tick, 1000);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, []);
  return second;
}

function useDark(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = (): void => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}

function stored(): string | null {
  try {
    return localStorage.getItem(ZONE_KEY);
  } catch {
    return null;
  }
}

function useZoneChoice(): [boolean, (exchange: boolean) => void] {
  const [exchange, setExchange] = useState(() => stored() === "exchange");
  return [exchange, (chosen) => {
    setExchange(chosen);
    try {
      localStorage.setItem(ZONE_KEY, chosen ? "exchange" : "local");
    } catch {
      // A browser that stores nothing: the choice lasts as long as the page.
    }
  }];
}

function StreamSign({ state }: { state: State }) {
  const { zone, now } = useView();
  const kind = state.health === "live" ? "good" : state.health === "lost" ? "bad" : "info";
  const word = state.health === "live" ? "Live" : state.health === "lost" ? "Not live" : "Connecting";
  return (
    <span class="stream">
      <Sign kind={kind}>{word}</Sign>
      <span class="muted number">{clock(now, zone)}</span>
    </span>
  );
}

function Lost({ state, second }: { state: State; second: number }) {
  return (
    <div class="alerts" role="alert">
      {state.health === "lost" && (
        <p class="notice lost">
          {"The connection to the dashboard is lost. "}
          {state.received === null ? "Nothing was received yet. " : <>What is shown is <span aria-hidden="true">{duration(second - state.received)} </span>old. </>}
          Reconnecting; if this remains, check the tunnel.
        </p>
      )}
    </div>
  );
}

function Attention({ document }: { document: Snapshot }) {
  const { now } = useView();
  const found = points(document, now);
  return (
    <section aria-labelledby="attention-title">
      <h2 class="hidden" id="attention-title">Needs attention</h2>
      <ul class="attention">
        {found.map((point) => (
          <li key={point.id} class={point.severity}>
            <Sign kind={point.severity} plain><span class="hidden">{point.severity === "bad" ? "Urgent" : "Warning"}: </span>{point.subject}</Sign>
            <span>{point.text}{point.remedy && <span class="muted"> {point.remedy}</span>}</span>
          </li>
        ))}
        {found.length === 0 && <li class="good"><Sign kind="good" plain>All OK</Sign><span>No manual intervention is needed.</span></li>}
      </ul>
    </section>
  );
}

function Sums({ name, sums }: { name: string; sums: Dict<number> }) {
  const found = Object.entries(sums).sort(([, one], [, other]) => Math.abs(other) - Math.abs(one));
  const [first, ...rest] = found;
  return (
    <div>
      <dt>{name}{first && ` in ${first[0]}`}</dt>
      <dd class={tone(first?.[1])}>{money(first?.[1] ?? 0)}</dd>
      <dd>{rest.map(([currency, value]) => money(value, currency)).join(", ")}</dd>
    </div>
  );
}

function Figures({ manager, document }: { manager: Manager; document: Snapshot }) {
  const positions = Object.values(manager.positions);
  const guarded = positions.filter((position) => position.verdict === "guarded").length;
  const closing = Object.keys(manager.intents).length;
  const gateways = Object.values(document.gateways);
  const mine = gateways.length === 1 ? gateways : gateways.filter((gateway) => gateway.name === manager.gateway);
  const restart = nextOf(mine.map((gateway) => gateway.next_restart?.at));
  const approval = nextOf(mine.map((gateway) => gateway.next_approval));
  return (
    <dl class="figures">
      <Sums name="Open P&L" sums={manager.profit.open} />
      <Sums name="Realised today" sums={manager.profit.realized} />
      <div><dt>Guarded</dt><dd>{guarded} of {positions.length}</dd><dd>{closing ? `${closing} closing now` : "none closing"}</dd></div>
      <div>
        <dt>State</dt>
        <dd>{words(manager.phase)}</dd>
        <dd>{manager.since && <>since <Time at={manager.since} /></>}</dd>
      </div>
      {mine.length > 0 && <div><dt>Next restart</dt><dd>{restart ? <Countdown at={restart} /> : "none"}</dd><dd>{restart && <Time at={restart} />}</dd></div>}
      {mine.length > 0 && <div><dt>Next approval</dt><dd>{approval ? <Countdown at={approval} /> : mine.some(approvalUnknown) ? "not known" : "none"}</dd><dd>{approval && <Time at={approval} />}</dd></div>}
    </dl>
  );
}

function ManagerNotes({ manager }: { manager: Manager }) {
  const stops = Object.entries(manager.account_stops);
  const cooldowns = Object.entries(manager.cooldowns);
  const exposures = Object.entries(manager.exposures).filter(([, exposure]) => exposure.warnings?.length);
  if (stops.length + cooldowns.length + exposures.length === 0) return null;
  return (
    <div class="body">
      <ul class="rules">
        {stops.flatMap(([account, stop]) => Object.entries(stop.rules).map(([rule, { verdict, text, action }]) => (
          <li key={`${account} ${rule}`}>
            <Sign kind={verdict === "guarded" ? "good" : verdict === "fired" ? "bad" : "warn"} plain>Account {account}, {rule.replace(/_/g, " ")}: {verdict}</Sign>{" "}
            <span class="muted">{text}{" "}(then: {action})</span>
          </li>
        )))}
        {cooldowns.map(([id, cooldown]) => (
          <li key={id}><Sign kind="info" plain>{cooldown.symbol} cools down</Sign> <span class="muted">until <Time at={cooldown.ends} />, after {cooldown.rule} of {cooldown.label} (then: {cooldown.action})</span></li>
        ))}
        {exposures.map(([id, exposure]) => (
          <li key={id}><Sign kind="warn" plain>{exposure.label ?? id} may be assigned</Sign> <span class="muted">{exposure.warnings?.join("; ")} {exposure.dividend}</span></li>
        ))}
      </ul>
    </div>
  );
}

function ManagerPart({ manager, document, alone }: { manager: Manager; document: Snapshot; alone: boolean }) {
  const id = alone ? "positions" : `positions-${manager.name}`;
  return (
    <>
      {manager.running && <Figures manager={manager} document={document} />}
      <Section
        id={id}
        title={alone ? "Positions" : `Positions of ${manager.name}`}
        note={<span class="line"><Mode mode={manager.mode} />{manager.accounts.join(", ")}{manager.age && <span>as of <Time at={manager.age} seconds /></span>}</span>}
      >
        <Positions manager={manager} />
        <ManagerNotes manager={manager} />
      </Section>
      {manager.running && (
        <Section id={`profit-${manager.name}`} title={alone ? "Profit and loss" : `Profit and loss of ${manager.name}`}>
          <Curves manager={manager} />
        </Section>
      )}
    </>
  );
}

function App() {
  const state = useStream();
  const second = useSecond();
  const dark = useDark();
  const [exchange, setExchange] = useZoneChoice();
  const snapshot = state.document;
  const managers = Object.values(snapshot?.managers ?? {});
  const gateways = Object.values(snapshot?.gateways ?? {});
  const announcement = useAnnouncement(snapshot && managers);
  const zone = exchange ? snapshot?.exchange_zone : undefined;
  const now = second + Math.round(state.ahead);
  const urgent = snapshot ? points(snapshot, now).filter((point) => point.severity === "bad").length : 0;
  const name = `IB Gateway${snapshot ? ` · ${snapshot.host}` : ""}`;
  useEffect(() => {
    document.title = state.health === "lost" ? `Not live · ${name}` : urgent ? `(${urgent}) ${name}` : name;
  }, [state.health, urgent, name]);
  const alone = managers.length < 2;
  return (
    <ViewContext.Provider value={{ now, zone, dark }}>
      <header class="top">
        <div class="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          <h1>IB Gateway {snapshot && <span class="host">{snapshot.host}</span>}</h1>
        </div>
        <div class="controls">
          {gateways.length === 1 && gateways[0] && stateSign(gateways[0])}
          <div class="switch" role="group" aria-label="Time zone">
            <button type="button" aria-pressed={!exchange} onClick={() => setExchange(false)}>Local<span class="hidden"> time, {zoneName(undefined, now)}</span></button>
            <button type="button" aria-pressed={exchange} onClick={() => setExchange(true)}>Exchange<span class="hidden"> time, {snapshot && zoneName(snapshot.exchange_zone, now)}</span></button>
          </div>
          <StreamSign state={state} />
        </div>
      </header>
      <main class={`page${state.health === "lost" ? " stale" : ""}`}>
        <Lost state={state} second={second} />
        <p class="hidden" role="status">{announcement}</p>
        {!snapshot && <p class="notice waiting">{state.health === "lost" ? "Nothing was received yet." : "Connecting to the dashboard\u2026"}</p>}
        {snapshot && (
          <>
            <Part name="Needs attention"><Attention document={snapshot} /></Part>
            {!alone && <span class="hidden" id="positions" tabIndex={-1} />}
            {managers.map((manager) => <Part key={manager.name} name={manager.name}><ManagerPart manager={manager} document={snapshot} alone={alone} /></Part>)}
            {managers.length === 0 && <Section id="positions" title="Positions"><p class="empty">There is no position manager on this machine.</p></Section>}
            <Part name="Gateways"><Gateways gateways={gateways} /></Part>
            {managers.filter((manager) => manager.running || Object.keys(manager.orders).length > 0).map((manager) => <Part key={manager.name} name="Orders"><Orders manager={manager} title={alone ? "Orders" : `Orders of ${manager.name}`} /></Part>)}
            <Part name="Notifications"><Notifications outboxes={Object.values(snapshot.notifications)} /></Part>
            <Logs sources={snapshot.logs} />
            <p class="foot">
              Read-only. ib-gateway-ansible {snapshot.release}. Times are in {zone ?? "your time zone"} ({zoneName(zone, epoch(snapshot.at) ?? now)}).
            </p>
          </>
        )}
      </main>
    </ViewContext.Provider>
  );
}

const place = document.getElementById("app");
if (place) {
  place.replaceChildren();
  render(<App />, place);
}
