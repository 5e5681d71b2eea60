import { useState } from "preact/hooks";
import { getJson, reason } from "./api";

/** Why an order was sent, or what was decided for a contract: the same words as `position-manager explain`. */
export function Explain({ manager, what, name }: { manager: string; what: { order?: string; contract?: string }; name: string }) {
  const [text, setText] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const load = async (): Promise<void> => {
    setBusy(true);
    try {
      setText((await getJson<{ text: string }>("explain", { manager, ...what })).text);
    } catch (error) {
      setText(reason(error));
    }
    setBusy(false);
  };
  return (
    <div class={text === null ? "inline" : undefined}>
      <button class="text-button" type="button" disabled={busy} aria-expanded={text !== null} onClick={() => (text === null ? void load() : setText(null))}>
        {text === null ? "Explain" : "Hide"}<span class="hidden"> {name}</span>
      </button>
      <div role="status">{text !== null && <pre class="explain" tabIndex={0}>{text}</pre>}</div>
    </div>
  );
}
