import { useEffect, useState } from "preact/hooks";
import { getJson, reason } from "./api";
import type { Dict, LogLine } from "./types";
import { Section, Time } from "./ui";

const ERROR = 3;
const WARNING = 4;
const REFRESH = 5000;

const level = (priority: number): string => (priority <= ERROR ? "error" : priority <= WARNING ? "warning" : "");

/** The logs of one service. They are read when they are asked for, and then every few seconds while they are open. */
export function Logs({ sources }: { sources: Dict<{ label: string }> }) {
  const [source, setSource] = useState("");
  const [only, setOnly] = useState(false);
  const [lines, setLines] = useState<LogLine[]>([]);
  const [note, setNote] = useState("");
  useEffect(() => {
    setLines([]);
    setNote("");
    if (!source) return;
    const abort = new AbortController();
    const load = async (): Promise<void> => {
      try {
        const answer = await getJson<{ lines: LogLine[] }>("logs", { source, lines: "200" }, abort.signal);
        setLines(answer.lines);
        setNote(answer.lines.length ? "" : "There is no line.");
      } catch (error) {
        if (!abort.signal.aborted) setNote(reason(error));
      }
    };
    void load();
    const timer = setInterval(() => {
      if (!document.hidden) void load();
    }, REFRESH);
    return () => {
      clearInterval(timer);
      abort.abort();
    };
  }, [source]);
  const shown = lines.filter((line) => !only || line.priority <= WARNING);
  return (
    <Section id="logs" title="Logs" note={source ? "the newest first, renewed every 5 seconds" : undefined}>
      {Object.keys(sources).length === 0 ? <p class="empty">No service of this page runs under systemd: the log is where the program was started.</p> : (
      <div class="body line">
        <label>Service{" "}
          <select value={source} onChange={(event) => setSource(event.currentTarget.value)}>
            <option value="">none</option>
            {Object.entries(sources).map(([id, { label }]) => <option key={id} value={id}>{label}</option>)}
          </select>
        </label>
        <label><input type="checkbox" checked={only} onChange={(event) => setOnly(event.currentTarget.checked)} /> Warnings and errors only</label>
        <span role="status" class="small muted">{note}</span>
      </div>
      )}
      {shown.length > 0 && (
        <div class="log" tabIndex={0} role="region" aria-label="Lines of the log">
          <ol>{[...shown].reverse().map((line, index) => (
            <li key={`${line.at}${index}`} class={level(line.priority)}>
              <Time at={line.at} seconds />
              <span>{level(line.priority) && <b>{level(line.priority).toUpperCase()} </b>}{line.text}</span>
            </li>
          ))}</ol>
        </div>
      )}
    </Section>
  );
}
