"""Handles one dialog of the second factor by entering a code: a state machine without any I/O.

It is asked with each screenshot what to do next. No code is typed unless the log shows that the dialog is
open (and has the focus, where the controller logs that), the picture shows exactly one empty field that belongs to no
form, that field shows the caret, and the code is fresh. What was typed is confirmed only once the field shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

from gateway_watch.code_ledger import MOST_CODES, Ledger
from gateway_watch.totp import seconds_left, step_at

if TYPE_CHECKING:
    # It needs numpy, which a gateway without codes never loads.
    from gateway_watch.code_field import Place, Sight

LEAST_SECONDS_LEFT = 5.0
"""A code that is valid for less time is not typed."""
SEARCH_SECONDS = 90.0
"""After so long without a field that can be used, the dialog is left to a person, while it is still open (180 s)."""
FOCUS_SECONDS = 3.0
"""A caret blinks about once a second; without one for so long, the field does not have the focus."""
SHOWN_SECONDS = 2.5
"""What is typed shows in the field before that."""
EMPTIED_SECONDS = 2.0
ANSWER_SECONDS = 20.0
"""A dialog that is still open so long after a code has not accepted it."""
PICTURE_SECONDS = 0.3


@dataclass(frozen=True)
class Dialog:
    """The dialog as the log shows it: whether it is open, and whether it has the focus (None: the log omits it)."""

    open: bool
    focused: bool | None


class Outcome(StrEnum):
    """How an answer ended."""

    CLOSED = "closed"
    """The dialog has closed; the login shows why."""
    NOT_ACCEPTED = "not_accepted"
    NO_FIELD = "no_field"
    SEVERAL_FIELDS = "several_fields"
    NO_FOCUS = "no_focus"
    NOT_SHOWN = "not_shown"
    NO_SCREEN = "no_screen"
    NO_LEDGER = "no_ledger"
    CLOCK = "clock"
    NO_SECRET = "no_secret"  # noqa: S105 - a name


@dataclass(frozen=True)
class Wait:
    """Take the next screenshot after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Click:
    """Click into the field."""

    place: Place


@dataclass(frozen=True)
class Type:
    """Store the ledger, then type the code of the step."""

    step: int
    ledger: Ledger


@dataclass(frozen=True)
class Confirm:
    """Press Enter."""


@dataclass(frozen=True)
class Erase:
    """Remove what was typed."""


@dataclass(frozen=True)
class Store:
    """Store the ledger."""

    ledger: Ledger


@dataclass(frozen=True)
class End:
    """Nothing more to do."""

    outcome: Outcome


Action: TypeAlias = Wait | Click | Type | Confirm | Erase | Store | End


class _Phase(Enum):
    SEARCH = "search"
    FOCUS = "focus"
    CHECK = "check"
    ANSWER = "answer"


class CodeEntry:
    """Handles one dialog. `reset_at` is when a person last changed the secret or requested a login."""

    def __init__(self, ledger: Ledger, reset_at: datetime | None, now: datetime) -> None:
        self.ledger = ledger
        self.target: Place | None = None
        self.step: int | None = None
        """The field in use, and the step of the code that was typed into it."""
        self.typed = False
        """Whether a code was typed."""
        self._reset_at = reset_at
        self._phase = _Phase.SEARCH
        self._since = now
        self._searching_since = now
        self._seen: Place | None = None
        self._problem = Outcome.NO_FIELD

    def next(self, sight: Sight, dialog: Dialog, now: datetime) -> Action:
        """What to do after a picture; it was taken with `target` and the code of `step` in mind."""
        if not dialog.open:
            return End(Outcome.CLOSED)
        match self._phase:
            case _Phase.SEARCH:
                return self._search(sight, now)
            case _Phase.FOCUS:
                return self._focus(sight, dialog, now)
            case _Phase.CHECK:
                return self._check(sight, dialog, now)
            case _Phase.ANSWER:
                return self._answer(sight, now)

    def _enter(self, phase: _Phase, now: datetime) -> None:
        self._phase, self._since = phase, now

    def _elapsed(self, now: datetime) -> float:
        return (now - self._since).total_seconds()

    def _search(self, sight: Sight, now: datetime) -> Action:
        self.target, self.step = None, None
        if self.ledger.exhausted(now, self._reset_at):
            return End(Outcome.NOT_ACCEPTED if self._problem is not Outcome.NOT_SHOWN else Outcome.NOT_SHOWN)
        if (now - self._searching_since).total_seconds() >= SEARCH_SECONDS:
            return End(self._problem)
        if sight.place is None:
            self._problem = Outcome.SEVERAL_FIELDS if sight.candidates > 1 else Outcome.NO_FIELD
            self._seen = None
            return Wait(PICTURE_SECONDS)
        if sight.place != self._seen:
            # A form that is about to be filled in is empty for a moment.
            self._seen = sight.place
            return Wait(PICTURE_SECONDS)
        self.target = sight.place
        self._enter(_Phase.FOCUS, now)
        return Click(sight.place)

    def _focus(self, sight: Sight, dialog: Dialog, now: datetime) -> Action:
        if sight.place != self.target:
            return self._search_again(now)
        if not sight.caret or dialog.focused is False:
            if self._elapsed(now) < FOCUS_SECONDS:
                return Wait(PICTURE_SECONDS)
            self._problem = Outcome.NO_FOCUS
            return self._search_again(now)
        self._since = now
        if not self.ledger.fresh(now):
            return Wait(min(1.0, (self.ledger.next_fresh(now) - now).total_seconds() + 0.1))
        if seconds_left(now) < LEAST_SECONDS_LEFT:
            return Wait(min(1.0, seconds_left(now) + 0.1))
        self.step = step_at(now)
        self.ledger = self.ledger.with_typed(now)
        self.typed = True
        self._enter(_Phase.CHECK, now)
        return Type(self.step, self.ledger)

    def _check(self, sight: Sight, dialog: Dialog, now: datetime) -> Action:
        if sight.holds_code and dialog.focused is not False:
            self._enter(_Phase.ANSWER, now)
            return Confirm()
        if self._elapsed(now) < SHOWN_SECONDS:
            return Wait(PICTURE_SECONDS)
        self._problem = Outcome.NOT_SHOWN
        if (now - self._searching_since).total_seconds() >= SEARCH_SECONDS:
            return End(self._problem)
        if not sight.glyphs:
            # The keys went to a window that took the focus at that moment.
            self._start_search(now)
            return Store(self.ledger)
        if sight.caret and dialog.focused is not False:
            self._start_search(now)
            return Erase()
        if self._elapsed(now) >= SHOWN_SECONDS + FOCUS_SECONDS and self.target is not None:
            # A part of the code is there, and another window has the focus.
            self._enter(_Phase.CHECK, now)
            return Click(self.target)
        return Wait(PICTURE_SECONDS)

    def _answer(self, sight: Sight, now: datetime) -> Action:
        emptied = sight.empty and self._elapsed(now) >= EMPTIED_SECONDS
        if not emptied and self._elapsed(now) < ANSWER_SECONDS:
            return Wait(PICTURE_SECONDS)
        self.ledger = self.ledger.with_refused()
        self._problem = Outcome.NOT_ACCEPTED
        self._start_search(now)
        return Store(self.ledger)

    def _search_again(self, now: datetime) -> Action:
        self._enter(_Phase.SEARCH, now)
        self._seen = None
        return Wait(PICTURE_SECONDS)

    def _start_search(self, now: datetime) -> None:
        self._enter(_Phase.SEARCH, now)
        self._seen, self._searching_since = None, now


def describe(outcome: Outcome, instance: str) -> str:
    """Why a dialog was left to a person, and what to do."""
    texts = {
        Outcome.NOT_ACCEPTED: f"{MOST_CODES} codes of the authenticator app did not lead to a login. "
        "Check ib_gateway_totp_secret and the host's clock, and deploy again.",
        Outcome.NO_FIELD: "No field for a code was found on the gateway's screen: the dialog asks for something else, "
        "or another window covers it. With several devices set ib_gateway_twofa_device to the text of the "
        "authenticator app in the list.",
        Outcome.SEVERAL_FIELDS: "The gateway's screen shows several empty fields, so that of the code is not certain.",
        Outcome.NO_FOCUS: "The field for the code does not get the focus; another window takes it.",
        Outcome.NOT_SHOWN: "What was typed did not show in the field for the code, so it was not confirmed.",
        Outcome.NO_SCREEN: "The gateway's screen could not be read over VNC.",
        Outcome.NO_LEDGER: "The typed codes cannot be read or recorded in the state directory: check the disk.",
        Outcome.CLOCK: "The host's clock is wrong by more than 5 s, and so its codes are: check chronyc tracking.",
        Outcome.NO_SECRET: "The secret of the authenticator app cannot be read: deploy again.",
    }
    return (
        f"{texts.get(outcome, outcome.value)} Enter the code over VNC while the dialog is open, or run "
        f"gateway-watch approve-now --instance {instance} for a new try."
    )
