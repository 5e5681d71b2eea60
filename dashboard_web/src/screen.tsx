import { useEffect, useRef, useState } from "preact/hooks";
import { get, reason } from "./api";
import { Time } from "./ui";

const LIMIT = 30_000;

/** The gateway's screen in a dialog. It is drawn on a canvas, as no picture but the server's own files may be shown. */
export function Screen({ gateway, close }: { gateway: string; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [state, setState] = useState<{ error?: string; at?: string; fresh?: boolean; loading: boolean }>({ loading: true });
  const [round, setRound] = useState(0);

  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);

  useEffect(() => {
    const abort = new AbortController();
    const late = setTimeout(() => {
      setState({ loading: false, error: `No picture came within ${LIMIT / 1000} s. Check that the gateway runs, and take it again.` });
      abort.abort();
    }, LIMIT);
    setState({ loading: true });
    const show = async (): Promise<void> => {
      const response = await get("screen", { gateway }, abort.signal);
      const picture = await createImageBitmap(await response.blob());
      const place = canvas.current;
      if (!place || abort.signal.aborted) return;
      place.width = picture.width;
      place.height = picture.height;
      place.getContext("2d")?.drawImage(picture, 0, 0);
      const at = response.headers.get("X-Taken-At");
      clearTimeout(late);
      setState({ loading: false, fresh: response.headers.get("X-Fresh") !== "0", ...(at && { at }) });
    };
    show().catch((error: unknown) => {
      clearTimeout(late);
      if (!abort.signal.aborted) setState({ loading: false, error: reason(error) });
    });
    return () => {
      clearTimeout(late);
      abort.abort();
    };
  }, [gateway, round]);

  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="screen-title">
      <header>
        <h2 id="screen-title">Screen of {gateway}</h2>
        <span class="line">
          <button class="button" type="button" disabled={state.loading} onClick={() => setRound(round + 1)}>Take again</button>
          <button class="button" type="button" onClick={() => dialog.current?.close()}>Close</button>
        </span>
      </header>
      <div class="body">
        <p role="status" class="small muted">
          {state.loading && "Taking the picture; this may take ten seconds…"}
          {state.error}
          {state.at && <>{state.fresh ? "Taken" : "A stored picture, taken"} <Time at={state.at} seconds />. All text in it is removed.</>}
        </p>
        <canvas ref={canvas} class={state.at ? "picture" : "hidden"} role="img" aria-label={`Screen of ${gateway}`} />
      </div>
    </dialog>
  );
}
