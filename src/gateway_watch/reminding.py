"""Sends the reminders of a gateway, each once, over restarts too: the I/O around `gateway_watch.reminders`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway_watch import messages
from gateway_watch.instance import Instance
from gateway_watch.reminders import Facts, Ledger, Promise, Step, check
from gateway_watch.session_calendar import Kind
from host_service.statefile import write_json
from notifications.message import Message


def read(path: Path) -> Ledger:
    """The ledger as last written. Without it, or if it is damaged, a reminder can come once more."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        promise = document["promise"]
        return Ledger(
            _moment(document["due"]),
            tuple(Step(step) for step in document["done"]),
            promise and Promise(Kind(promise["kind"]), _moment(promise["at"])),
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Ledger()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def write(path: Path, ledger: Ledger) -> None:
    """Replace the file. Raises OSError."""
    promise = ledger.promise
    document = {
        "due": ledger.due and ledger.due.isoformat(),
        "done": [step.value for step in ledger.done],
        "promise": promise and {"kind": promise.kind.value, "at": promise.at.isoformat()},
    }
    write_json(path, document)


class Reminding:
    """The reminders of one gateway during one run."""

    def __init__(self, instance: Instance, say: Callable[[str], None], notify: Callable[[Message], object]) -> None:
        self._instance, self._say, self._notify = instance, say, notify
        self._ledger = read(instance.reminders_file)
        self._before: Facts | None = None

    def check(self, facts: Facts) -> None:
        """Send what is due. To be called every few seconds."""
        instance = self._instance
        ledger, notices = check(instance.calendar, instance.reminder_quiet_hours, self._ledger, facts, self._before)
        self._before = facts
        for notice in notices:
            if isinstance(notice, Promise):
                message = messages.promise_broken(instance, notice, facts.now)
            else:
                message = messages.reminder(instance, notice, facts.now)
            self._say(f"gateway-watch: reminder: {message.title}")
            # Sent before it is recorded: what is sent twice because of a crash in between is counted by its key.
            self._notify(message)
        if ledger != self._ledger:
            self._ledger = ledger
            try:
                write(instance.reminders_file, ledger)
            except OSError as error:
                self._say(f"gateway-watch: the reminders could not be recorded, a restart can repeat one: {error}")
