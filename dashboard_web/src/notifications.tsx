import { words } from "./format";
import type { Outbox } from "./types";
import { Section, Sign, Time, type Kind } from "./ui";

const STATE: Record<string, Kind> = { sent: "good", failed: "bad", queued: "warn", sending: "info" };
const SHOWN = 30;

export function Notifications({ outboxes }: { outboxes: Outbox[] }) {
  const pending = outboxes.reduce((sum, outbox) => sum + outbox.pending, 0);
  const failed = outboxes.reduce((sum, outbox) => sum + outbox.failed, 0);
  const items = outboxes
    .flatMap((outbox) => Object.entries(outbox.items).map(([id, item]) => ({ ...item, id: `${outbox.source} ${id}`, source: outbox.source })))
    .sort((one, other) => Date.parse(other.at) - Date.parse(one.at))
    .slice(0, SHOWN);
  return (
    <Section id="notifications" title="Notifications" note={`${pending} pending, ${failed} failed`}>
      {items.length === 0 ? <p class="empty">None was sent yet.</p> : (
        <div class="scroll" tabIndex={0} role="region" aria-label="List of notifications">
          <ul class="messages">
            {items.map((item) => (
              <li key={item.id}>
                <div class="line">
                  <strong>{item.title}</strong>
                  <span class="line end small">
                    {Object.entries(item.states).map(([target, state]) => (
                      <Sign key={target} kind={STATE[state] ?? "none"} plain>{target}: {state}</Sign>
                    ))}
                  </span>
                </div>
                {item.lines.map((line, index) => <p key={index} class="small">{line}</p>)}
                {item.detail && <p class="small muted">{item.detail}</p>}
                <p class="small muted"><Time at={item.at} seconds /> · {words(item.severity)} · {item.source}</p>
              </li>
            ))}
          </ul>
        </div>
      )}
    </Section>
  );
}
