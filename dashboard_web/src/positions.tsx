import { useEffect, useRef, useState } from "preact/hooks";
import { Explain } from "./explain";
import { duration, epoch, fromNow, money, percent, price, quantity, signedQuantity, words } from "./format";
import { scale, used } from "./scale";
import type { Bar, Intent, Manager, Position } from "./types";
import { Sign, Time, tone, useView, type Kind } from "./ui";

const KIND_WORDS: Record<string, string> = { trailing: "Trailing stop", breakeven: "Breakeven", stop: "Stop", target: "Target" };
const NEAR = 0.75;

function RuleBar({ id, bar, position }: { id: string; bar: Bar; position: Position }) {
  const drawn = scale(bar, position.quantity);
  const marks = Object.values(bar.marks);
  const own = id === "price";
  const name = own ? position.name : `${position.name}, ${bar.subject}`;
  const spoken = marks.map((mark) => `${KIND_WORDS[mark.kind] ?? words(mark.rule)} at ${price(mark.level)}`).join(", ");
  const { now, entry } = drawn;
  return (
    <div class="bar">
      {!own && <h4>{bar.subject.charAt(0).toUpperCase() + bar.subject.slice(1)}</h4>}
      <div class="bar-track" role="img" aria-label={`${name}: ${now === null ? "present value not known" : `now at ${price(bar.now)}`}${entry === null ? "" : `, entry ${price(bar.entry)}`}, ${spoken}.${drawn.flipped ? " A lower value is better." : ""}`}>
        <div class="rail">
          {now !== null && entry !== null && (
            <i class={`zone ${now >= entry ? "gain" : "loss"}`} style={{ left: `${Math.min(now, entry)}%`, width: `${Math.abs(now - entry)}%` }} />
          )}
          {drawn.stop !== null && <i class="zone stop" style={{ left: "0%", width: `${drawn.stop}%` }} />}
          {drawn.target !== null && <i class="zone target" style={{ left: `${drawn.target}%`, right: "0%" }} />}
        </div>
        {drawn.marks.map((mark) => (
          <i key={mark.id} class={`mark ${mark.kind}${mark.row === "low" ? " low" : ""}`} style={{ left: `${mark.at}%` }}>
            {mark.row !== "none" && <b>{mark.name}</b>}
          </i>
        ))}
        {now !== null && <i class="needle" style={{ left: `${now}%` }} />}
      </div>
      <ul class="keys">
        {marks.map((mark) => (
          <li key={mark.rule + mark.level}>
            {KIND_WORDS[mark.kind] ?? words(mark.rule)} <b class="number">{price(mark.level)}</b>
            {mark.percent !== undefined && <span class="number"> ({percent(Math.abs(mark.percent) / 100).replace("+", "")} {reached(mark.distance) ? "past it" : "away"})</span>}
            {mark.percent === undefined && reached(mark.distance) && mark.kind !== "breakeven" && " (reached)"}
          </li>
        ))}
      </ul>
    </div>
  );
}

const reached = (distance: number | undefined): boolean => distance !== undefined && distance <= 0;

function verdict(position: Position): [Kind, string] {
  const near = Object.values(position.bars).some((bar) => (used(bar, position.quantity) ?? 0) >= NEAR);
  switch (position.verdict) {
    case "guarded":
      return near ? ["warn", "Guarded, near its stop"] : ["good", "Guarded"];
    case "closing":
      return ["info", "Closing"];
    case "unprotected":
      return position.market_open === false ? ["none", "Market closed"] : ["bad", "Unprotected"];
    default:
      return ["none", words(position.verdict)];
  }
}

/** The orders of a close, one per price, the present one last. */
export function Ladder({ intent }: { intent: Intent }) {
  const rungs = intent.ladder ?? [];
  const last = rungs.length - 1;
  return (
    <div class="wide">
      <p class="line small">
        <Sign kind="info">{words(intent.state)}</Sign>
        <span>
          <strong>{intent.side} {quantity(intent.quantity)} {intent.label}</strong>
          {" "}by {words(intent.rule).toLowerCase()}, {quantity(intent.filled)} filled, since <Time at={intent.created} seconds />
        </span>
      </p>
      {rungs.length > 0 && (
        <ol class="ladder" aria-label={`Prices of the close of ${intent.label}`}>
          {rungs.map((rung, index) => (
            <li key={`${rung.at}${index}`} class={rung.filled >= intent.quantity ? "filled" : index === last ? "now" : ""}>
              {index + 1}. <b class="number">{price(rung.limit)}</b>
              <small>{words(rung.state)}{rung.filled > 0 && `, ${quantity(rung.filled)} filled`}</small>
            </li>
          ))}
        </ol>
      )}
      {intent.reason && <p class="small muted">{intent.reason}</p>}
    </div>
  );
}

function Unprotected({ position }: { position: Position }) {
  const { now } = useView();
  const since = epoch(position.unprotected.since);
  if (since === null && position.unprotected.seconds < 1) return <>never</>;
  const open = since === null ? 0 : Math.max(0, now - since);
  return <>{duration(Math.max(position.unprotected.seconds, open))} in all{since !== null && ", and now"}</>;
}

function PositionRow({ position, manager, intents }: { position: Position; manager: string; intents: Intent[] }) {
  const [kind, word] = verdict(position);
  const { now } = useView();
  const id = `position-${manager}-${position.key}`.replace(/\W+/g, "-");
  const bars = Object.entries(position.bars).filter(([, bar]) => Object.keys(bar.marks).length > 0);
  const legs = Object.entries(position.legs);
  const contract = legs.length === 1 ? legs[0]?.[0] : undefined;
  return (
    <article class="position" aria-labelledby={id} data-verdict={position.verdict}>
      <div>
        <div class="line">
          <h3 id={id}>{position.name}</h3>
          <Sign kind={kind}>{word}</Sign>
        </div>
        <p class="small muted">
          {position.quantity < 0 ? "Short" : "Long"} {signedQuantity(position.quantity)} · {position.account}
          {position.group && ` · group ${position.group}`}
          {(position.unprotected.since !== undefined || position.unprotected.seconds >= 1) && <> · unprotected <Unprotected position={position} /></>}
        </p>
        <dl class="values">
          <div><dt>Entry</dt><dd class="number">{price(position.entry)}</dd></div>
          <div><dt>Price</dt><dd class="number">{price(position.price)}</dd></div>
          <div><dt>P&L in {position.currency}</dt><dd class={`number ${tone(position.profit)}`}>{money(position.profit)}</dd></div>
        </dl>
      </div>
      <div>
        {bars.length > 0
          ? bars.map(([subject, bar]) => <RuleBar key={subject} id={subject} bar={bar} position={position} />)
          : <p class="small muted">No rule of this position has a price to show.</p>}
      </div>
      {position.text && <p class="wide small">{position.text}</p>}
      {intents.map((intent) => <Ladder key={intent.id} intent={intent} />)}
      <details class="wide">
        <summary>Rules, quotes and decisions<span class="hidden"> of {position.name}</span></summary>
        <div class="two">
          <div>
            <h4>Rules</h4>
            <ul class="rules">
              {Object.entries(position.rules).map(([rule, { text, origin }]) => (
                <li key={rule}><strong>{words(rule)}</strong>: {text} <span class="muted">({origin})</span></li>
              ))}
              {Object.keys(position.rules).length === 0 && <li class="muted">None</li>}
            </ul>
            <p class="small muted">Unprotected: <Unprotected position={position} /></p>
          </div>
          <div>
            <h4>Quotes</h4>
            <ul class="rules">
              {legs.map(([key, leg]) => (
                <li key={key}>
                  {signedQuantity(leg.quantity)} {leg.label}: bid {price(leg.bid)}, ask {price(leg.ask)}
                  {leg.quoted_at && <span class="muted"> ({fromNow(epoch(leg.quoted_at) ?? now, now)})</span>}
                </li>
              ))}
              {legs.length === 0 && <li class="muted">None</li>}
            </ul>
          </div>
        </div>
        {contract !== undefined && <Explain manager={manager} what={{ contract }} name={position.name} />}
      </details>
    </article>
  );
}

/** Announces what a listener must know: a position that starts to close, is closed, or is no longer protected. */
export function useAnnouncement(managers: Manager[] | null): string {
  const before = useRef<Map<string, string> | null>(null);
  const [text, setText] = useState("");
  const verdicts = new Map<string, string>((managers ?? []).flatMap((manager) =>
    Object.entries(manager.positions).map(([key, position]) => [`${manager.name} ${key}`, `${position.name}: ${position.verdict}`] as const)));
  const state = [...verdicts.values()].join("; ");
  useEffect(() => {
    if (managers === null) return;
    const old = before.current;
    before.current = verdicts;
    if (old === null) return;
    const news = [...verdicts].filter(([key, value]) => old.get(key) !== value).map(([, value]) => value);
    const gone = [...old].filter(([key]) => !verdicts.has(key)).map(([, value]) => `${value.slice(0, value.lastIndexOf(":"))}: closed`);
    if (news.length + gone.length) setText([...news, ...gone].join(". "));
  }, [managers === null, state]);
  return text;
}

export function Positions({ manager }: { manager: Manager }) {
  const positions = Object.entries(manager.positions).sort(([, one], [, other]) => urgency(one) - urgency(other) || one.name.localeCompare(other.name));
  const intents = Object.values(manager.intents);
  const ofPosition = (position: Position) =>
    intents.filter((intent) => intent.account === position.account && String(intent.con_id) in position.legs);
  const shown = new Set(positions.flatMap(([, position]) => ofPosition(position).map((intent) => intent.id)));
  const others = intents.filter((intent) => !shown.has(intent.id));
  return (
    <>
      {positions.map(([key, position]) => (
        <PositionRow key={key} position={position} manager={manager.name} intents={ofPosition(position)} />
      ))}
      {positions.length === 0 && <p class="empty">{manager.running ? "There is no position." : manager.why ?? "The position manager does not run."}</p>}
      {others.length > 0 && <div class="position">{others.map((intent) => <Ladder key={intent.id} intent={intent} />)}</div>}
    </>
  );
}

function urgency(position: Position): number {
  return position.verdict === "closing" ? 0 : position.verdict === "unprotected" && position.market_open !== false ? 1 : 2;
}
