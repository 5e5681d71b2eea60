"""Which codes of the authenticator app were typed: `<state directory>/second-factor.json`. It holds no code.

A code is entered here before it is typed, so that none is typed twice, not even by a supervisor that was killed in
between.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway_watch.totp import start_of, step_at
from host_service.statefile import write_json

MOST_CODES = 2
WRONG_CLOCK_STEPS = 10
FORGET = timedelta(hours=1)
"""After this time a code that IBKR did not reject counts no more: its login failed for another reason."""


@dataclass(frozen=True)
class Typed:
    """A code that was typed for a login that is not reached yet; `refused`: the gateway requested another one."""

    at: datetime
    refused: bool = False


@dataclass(frozen=True)
class Ledger:
    """`last_step` is the step of the last code that was typed, `typed` are those since the last login. `readable` is
    False if the file cannot be read: which codes were typed is not known, so none may be typed."""

    last_step: int | None = None
    typed: tuple[Typed, ...] = ()
    readable: bool = True

    def counted(self, now: datetime, reset_at: datetime | None) -> int:
        """How many codes count against `MOST_CODES`; those before `reset_at` do not: a person has acted since."""
        return sum(
            1
            for typed in self.typed
            if (reset_at is None or typed.at >= reset_at) and (typed.refused or now - typed.at < FORGET)
        )

    def exhausted(self, now: datetime, reset_at: datetime | None) -> bool:
        """Whether no further code may be typed before the next login or a person's act."""
        return not self.readable or self.counted(now, reset_at) >= MOST_CODES

    def fresh(self, now: datetime) -> bool:
        """Whether the code of this moment was never typed."""
        step = step_at(now)
        # A step far ahead is that of a clock that was wrong, which would rule out every code until then.
        return self.last_step is None or step > self.last_step or self.last_step - step > WRONG_CLOCK_STEPS

    def next_fresh(self, now: datetime) -> datetime:
        """When the next code that was never typed becomes valid."""
        step = step_at(now)
        last = self.last_step if self.last_step is not None and self.last_step - step <= WRONG_CLOCK_STEPS else step
        return start_of(max(step, last) + 1)

    def with_typed(self, now: datetime) -> Ledger:
        return Ledger(step_at(now), (*self.typed[1 - MOST_CODES :], Typed(now)))

    def with_refused(self) -> Ledger:
        """The last code was not accepted."""
        if not self.typed:
            return self
        return replace(self, typed=(*self.typed[:-1], replace(self.typed[-1], refused=True)))

    def logged_in(self) -> Ledger:
        return Ledger(self.last_step)


def read(path: Path, now: datetime) -> Ledger:
    """The ledger as last written. A damaged one rules out the code of this moment, which it may have held."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        typed = tuple(
            Typed(datetime.fromisoformat(entry["at"]), entry["refused"] is True) for entry in document["typed"]
        )
        step = document["last_step"]
        return Ledger(None if step is None else int(step), typed)
    except FileNotFoundError:
        return Ledger()
    except (ValueError, TypeError, KeyError):
        return Ledger(step_at(now))
    except OSError:
        return Ledger(readable=False)


def write(path: Path, ledger: Ledger) -> None:
    """Replace the file. Raises OSError."""
    typed = [{"at": typed.at.astimezone(UTC).isoformat(), "refused": typed.refused} for typed in ledger.typed]
    write_json(path, {"last_step": ledger.last_step, "typed": typed})
