import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { getJson, reason } from "./api";
import { completeProfit } from "./document";
import { amount, clock, date, money, NONE } from "./format";
import type { Manager, Profit } from "./types";
import { tone, useView } from "./ui";

const LEAST_SECONDS = 60;

/** The curves of a manager, asked for again once its profit has a new revision, at most once a minute. */
function useProfit(manager: Manager): { profit: Profit | null; problem: string } {
  const [profit, setProfit] = useState<Profit | null>(null);
  const [problem, setProblem] = useState("");
  const asked = useRef(0);
  const { revision } = manager.profit;
  useEffect(() => {
    const abort = new AbortController();
    const load = (): void => {
      asked.current = Date.now();
      getJson<Profit>("profit", { manager: manager.name }, abort.signal).then(
        (found) => {
          setProfit(completeProfit(found));
          setProblem("");
        },
        (error: unknown) => {
          if (!abort.signal.aborted) setProblem(reason(error));
        },
      );
    };
    const wait = asked.current + LEAST_SECONDS * 1000 - Date.now();
    const timer = wait > 0 ? setTimeout(load, wait) : undefined;
    if (timer === undefined) load();
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [manager.name, revision]);
  return { profit, problem };
}

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const MINUTE_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360].map((minutes) => minutes * 60);
const DAY_STEPS = [1, 2, 3, 5, 7, 14].map((days) => days * 86400);

function axes(zone: string | undefined, days: boolean): uPlot.Axis[] {
  const label = (at: number) => (days ? date(at) : clock(at, zone, false));
  const shared = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const time = { ...shared, space: 60, values: (_plot: uPlot, moments: number[]) => moments.map(label), incrs: days ? DAY_STEPS : MINUTE_STEPS };
  return [time, { ...shared, size: 64, values: (_plot: uPlot, values: number[]) => values.map((value) => amount(value).replace(/\.00$/, "")) }];
}

interface ChartProps {
  name: string;
  data: uPlot.AlignedData;
  series: () => uPlot.Series[];
  zone: string | undefined;
  days?: boolean;
}

/** A plot that follows the width of its place and the colours of the system. */
function Chart({ name, data, series, zone, days }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(data);
  latest.current = data;
  const { dark } = useView();
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const size = () => ({ width: Math.max(200, parent.clientWidth), height: 230 });
    const zero: uPlot.Plugin = {
      hooks: {
        drawAxes: (drawn) => {
          const y = Math.round(drawn.valToPos(0, "y", true));
          if (y < drawn.bbox.top || y > drawn.bbox.top + drawn.bbox.height) return;
          drawn.ctx.fillStyle = colour("--strong-line");
          drawn.ctx.fillRect(drawn.bbox.left, y, drawn.bbox.width, devicePixelRatio);
        },
      },
    };
    const chart = (plot.current = new uPlot(
      {
        ...size(),
        legend: { show: false },
        cursor: { show: false },
        scales: {
          x: days ? { time: true, range: (_plot, low, high) => [low - 43200, high + 43200] } : { time: true },
          y: { range: (_plot, low, high) => padded(low, high) },
        },
        axes: axes(zone, days ?? false),
        series: [{}, ...series()],
        plugins: [zero],
        tzDate: (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1000), zone) : new Date(seconds * 1000)),
      },
      latest.current,
      parent,
    ));
    const observer = new ResizeObserver(() => chart.setSize(size()));
    observer.observe(parent);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [dark, zone, days]);
  useEffect(() => plot.current?.setData(data), [data]);
  return <div ref={place} class="chart" role="img" aria-label={name} />;
}

function padded(low: number | null, high: number | null): [number, number] {
  const least = Math.min(low ?? 0, 0);
  const most = Math.max(high ?? 0, 0);
  const room = (most - least) * 0.08 || 1;
  return [least < 0 ? least - room : least, most > 0 || least === 0 ? most + room : most];
}

const soft = (name: string): string => `${colour(name)}33`;

function Day({ profit, currency }: { profit: Profit | null; currency: string }) {
  const { zone } = useView();
  const points = profit?.day.currencies[currency] ?? [];
  const values = points.map(([, value]) => value);
  const last = values[values.length - 1];
  const [best, worst] = [Math.max(...values), Math.min(...values)];
  const first = points[0]?.[0];
  const end = points[points.length - 1]?.[0];
  const text = `${profit?.day.date ?? ""} in ${currency}: ${money(last)}, best ${money(best)}, worst ${money(worst)}`;
  return (
    <figure>
      <figcaption class="chart-head">
        <h3>Day {profit?.day.date && <span class="muted">{profit.day.date}</span>}</h3>
        <strong class={`number ${tone(last)}`}>{money(last, currency)}</strong>
        <span class="small muted">best {money(values.length ? best : null)}, worst {money(values.length ? worst : null)}{first !== undefined && end !== undefined && <>, {clock(first, zone, false)} to {clock(end, zone, false)}</>}</span>
      </figcaption>
      {points.length < 2 ? <p class="empty chart">{profit && "The curve starts with the second minute of the day."}</p> : (
        <Chart
          name={`Profit of the day ${text}`}
          data={[points.map(([at]) => at), values]}
          zone={zone}
          series={() => [{ stroke: colour("--accent"), width: 2, fill: soft("--accent"), points: { show: false } }]}
        />
      )}
    </figure>
  );
}

function Month({ profit, currency }: { profit: Profit | null; currency: string }) {
  const days = profit?.days[currency] ?? [];
  const last = days[days.length - 1]?.[2];
  const won = days.filter(([, value]) => value > 0).length;
  const noon = days.map(([date]) => Date.parse(`${date}T12:00:00Z`) / 1000);
  return (
    <figure>
      <figcaption class="chart-head">
        <h3>30 days</h3>
        <strong class={`number ${tone(last)}`}>{money(last, currency)}</strong>
        <span class="small muted">{days.length ? `${won} of ${days.length} days with a gain; the bars are days, the line is their sum` : NONE}</span>
      </figcaption>
      {days.length === 0 ? <p class="empty chart">{profit && "No day is recorded yet."}</p> : (
        <Chart
          name={`Profit of ${days.length} days in ${currency}: together ${money(last)}, ${won} with a gain`}
          data={[noon, days.map(([, value]) => Math.max(value, 0)), days.map(([, value]) => Math.min(value, 0)), days.map(([, , sum]) => sum)]}
          zone="UTC"
          days
          series={() => [
            { stroke: colour("--good-fill"), fill: colour("--good-fill"), width: 0, points: { show: false }, paths: bars() },
            { stroke: colour("--bad-fill"), fill: colour("--bad-fill"), width: 0, points: { show: false }, paths: bars() },
            { stroke: colour("--accent"), width: 2, points: { show: days.length < 12, size: 6 } },
          ]}
        />
      )}
      <div class="below">{days.length > 0 && (
        <details>
          <summary>The days as a table</summary>
          <div class="scroll" tabIndex={0} role="region" aria-label={`Profit by day in ${currency}`}>
            <table>
              <thead><tr><th scope="col">Day</th><th scope="col" class="right">P&L</th><th scope="col" class="right">Sum</th></tr></thead>
              <tbody>
                {[...days].reverse().map(([date, value, sum]) => (
                  <tr key={date}><td>{date}</td><td class={`right number ${tone(value)}`}>{money(value)}</td><td class="right number">{money(sum)}</td></tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      )}</div>
    </figure>
  );
}

const bars = (): uPlot.Series.PathBuilder => (uPlot.paths.bars as uPlot.Series.BarsPathBuilderFactory)({ size: [0.6, 18] });

export function Curves({ manager }: { manager: Manager }) {
  const { profit, problem } = useProfit(manager);
  const currencies = profit ? [...new Set([...Object.keys(profit.day.currencies), ...Object.keys(profit.days)])].sort() : [];
  const [chosen, setChosen] = useState("");
  const currency = currencies.includes(chosen) ? chosen : (currencies[0] ?? "");
  return (
    <div class="body curves">
      {currencies.length > 1 && (
        <div class="switch" role="group" aria-label="Currency">
          {currencies.map((name) => <button key={name} type="button" aria-pressed={name === currency} onClick={() => setChosen(name)}>{name}</button>)}
        </div>
      )}
      <p role="status" class="small muted">{problem}</p>
      <div class="two"><Day profit={profit} currency={currency} /><Month profit={profit} currency={currency} /></div>
    </div>
  );
}
