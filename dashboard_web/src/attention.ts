// What needs manual intervention or attention, the most urgent first. Pure.

import { duration, epoch } from "./format";
import type { Snapshot } from "./types";

export interface Point {
  id: string;
  severity: "bad" | "warn";
  /** What it is about. */
  subject: string;
  text: string;
  remedy?: string;
}

export function points(document: Snapshot, now: number): Point[] {
  const found: Point[] = [];
  const add = (severity: Point["severity"], id: string, subject: string, text: string, remedy?: string) =>
    found.push({ severity, id, subject, text, ...(remedy && { remedy }) });
  for (const [id, note] of Object.entries(document.notes ?? {})) {
    add(note.severity === "error" ? "bad" : "warn", `note ${id}`, "Dashboard", note.text);
  }
  for (const gateway of Object.values(document.gateways)) {
    const id = gateway.name;
    const { breaker, support } = gateway;
    if (breaker?.open) add("bad", `${id} breaker`, id, breaker.text ?? "Logins are stopped after refusals.", breaker.remedy);
    else if (gateway.state === "approval" || gateway.login?.needs_person) add("bad", `${id} login`, id, gateway.login?.text ?? gateway.text);
    else if (gateway.state === "down") add("bad", `${id} down`, id, gateway.text);
    else if (gateway.state === "link_lost") add("warn", `${id} link`, id, gateway.text);
    if (support) add(support.over ? "bad" : "warn", `${id} support`, id, support.text, support.remedy);
  }
  for (const manager of Object.values(document.managers)) {
    const id = manager.name;
    manager.halts.forEach((halt, index) => add("bad", `${id} halt ${index}`, id, halt));
    if (!manager.running) add("bad", `${id} away`, id, manager.why ?? "The position manager does not run.");
    else if (manager.phase !== "READY" && manager.halts.length === 0) {
      add("warn", `${id} phase`, id, manager.why ?? `The position manager is in phase ${manager.phase}.`);
    }
    for (const account of manager.new_accounts) {
      add("bad", `${id} account ${account}`, id, `Account ${account} is not guarded until it is accepted.`, "Use: position-manager accept-account, with its number.");
    }
    for (const [key, position] of Object.entries(manager.positions)) {
      if (position.verdict !== "unprotected" || position.market_open === false) continue;
      const since = epoch(position.unprotected.since);
      const long = since === null ? "" : `Unprotected for ${duration(Math.max(0, Math.floor((now - since) / 60) * 60))}: `;
      add("bad", `${id} ${key}`, position.name, `${long || "Unprotected: "}${position.text}`);
    }
    for (const [key, lock] of Object.entries(manager.locks)) {
      add("warn", `${id} lock ${key}`, lock.label, `Locked, nothing is sent: ${lock.reason}`);
    }
    if (manager.degraded.length) add("warn", `${id} data`, id, `Data farms are down: ${manager.degraded.join(", ")}`);
  }
  for (const outbox of Object.values(document.notifications)) {
    if (outbox.failed) add("warn", `outbox ${outbox.source}`, outbox.source, `${outbox.failed} notification(s) could not be sent.`);
  }
  return found.sort((one, other) => Number(other.severity === "bad") - Number(one.severity === "bad"));
}
