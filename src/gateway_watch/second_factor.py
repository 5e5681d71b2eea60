"""Handles the second factor with the codes of an authenticator app, and the outcome of each code.

Off unless the instance has a secret. `code_entry` decides, `code_typist` types, the ledger outlasts this process.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway_watch import code_ledger
from gateway_watch.breaker import newest_change
from gateway_watch.clock_error import ClockError, read_clock_error
from gateway_watch.code_entry import CodeEntry, Dialog, Outcome
from gateway_watch.code_ledger import Ledger
from gateway_watch.gatekeeper import asked_file, read_asked
from gateway_watch.instance import Instance
from gateway_watch.login import Change, LoginState
from gateway_watch.screenshot import password_file
from gateway_watch.signatures import Dialogs
from gateway_watch.totp import SecretError, read_secret
from gateway_watch.x_windows import OpenStream, in_container

SECRET = "totp_secret"  # noqa: S105 - the name of a file
REOPENED = "twofa_dialog"
"""The signature of a line that reports only that the dialog opened."""
WORDS = "the code of the authenticator app is entered by gateway-watch"


@dataclass(frozen=True)
class Answered:
    """An answer has ended."""

    outcome: Outcome


class SecondFactor:
    """Follows the dialogs of one run."""

    def __init__(
        self,
        instance: Instance,
        dialogs: Dialogs,
        environment: Mapping[str, str],
        log: Callable[[str], None],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], Awaitable[ClockError]] = read_clock_error,
        x_stream: OpenStream | None = None,
    ) -> None:
        self._x_stream = x_stream or in_container(instance.container)
        self._instance, self._dialogs, self._environment = instance, dialogs, environment
        self._log, self._now, self._sleep, self._clock = log, now, sleep, clock
        self._awaiting: set[str] = set()
        self._focused: bool | None = None
        self._answering = False
        self._left = False
        self._attempts = 0
        self._entry: CodeEntry | None = None
        self._open: bool | None = None

    @property
    def enabled(self) -> bool:
        """Whether codes are entered at all."""
        return self._instance.totp and self._instance.vnc is not None

    @property
    def in_charge(self) -> bool:
        """Whether nobody has to do anything about the dialog that is open, or about the next one."""
        return self.enabled and not self._left and not self._exhausted()

    def on_line(self, line: str) -> None:
        """Process a line of the log: whether the dialog is open, and whether it has the focus."""
        event = self._dialogs.pattern.search(line)
        title = self._dialogs.second_factor
        if event is None or title is None or not title.search(event["title"]):
            return
        match event["event"]:
            case self._dialogs.opened:
                # The focus may be logged first. While another dialog was open, it was that one's.
                self._focused = self._focused is True and self._open is not True
                self._open = True
            case self._dialogs.closed:
                self._open, self._focused = False, False
            case self._dialogs.focused:
                self._focused = True
            case self._dialogs.unfocused:
                self._focused = False

    def on_change(self, change: Change, attempts: int) -> bool:
        """Process a change of the login, the `attempts`th of this run; whether an answer must be started."""
        # After a code, IBC reports a further dialog of the same login only as opened.
        again = change.signature == REOPENED and self._typed_in(attempts)
        if change.state is not LoginState.AWAITING_2FA and not again:
            self._awaiting.discard(change.mode)
            if not self._awaiting:
                self._left = False
            return False
        opened = change.mode not in self._awaiting
        self._awaiting.add(change.mode)
        if not opened or not self.enabled or self._answering:
            return False
        if self._typed_in(attempts):
            self._refuse()
        self._answering = True
        self._attempts = attempts
        return True

    def _typed_in(self, attempts: int) -> bool:
        """Whether a code was typed in this login attempt."""
        return self._attempts == attempts and self._entry is not None and self._entry.typed

    def _refuse(self) -> None:
        """The login requests another code."""
        self._log("gateway-watch: the code was not accepted")
        self._store(self._ledger().with_refused())

    def logged_in(self) -> None:
        """A login has been reached: the codes typed for it count no more."""
        self._entry = None
        if self.enabled and self._ledger().typed:
            self._store(self._ledger().logged_in())

    async def answers(self) -> AsyncGenerator[Answered, None]:
        """Handle the dialog that is open."""
        outcome = await self._answer()
        while outcome is Outcome.CLOSED and self.dialog().open:
            # The next dialog opened before this one's end was noticed.
            if self._typed_in(self._attempts):
                self._refuse()
            outcome = await self._answer()
        self._answering = False
        self._left = outcome is not Outcome.CLOSED
        yield Answered(outcome)

    async def _answer(self) -> Outcome:
        if self._instance.vnc is None:
            return Outcome.NO_SCREEN
        if self._exhausted():
            return Outcome.NOT_ACCEPTED if self._ledger().readable else Outcome.NO_LEDGER
        try:
            totp = read_secret(self._instance.secret(SECRET, self._environment))
        except SecretError as error:
            self._log(f"gateway-watch: {error}")
            return Outcome.NO_SECRET
        clock = await self._clock()
        if clock.too_large:
            self._log(f"gateway-watch: the clock is wrong by {clock.seconds:.1f} s; no code is entered")
            return Outcome.CLOCK
        if clock.reason:
            self._log(f"gateway-watch: the clock's error is not known: {clock.reason}")
        # Imported here: with numpy and cryptography it costs 40 MB that a gateway without codes never needs.
        from gateway_watch.code_typist import Typist

        self._entry = CodeEntry(self._ledger(), self._reset_at(), self._now())
        typist = Typist(
            self._instance.vnc,
            password_file(self._instance, self._environment),
            totp,
            self._file,
            self.dialog,
            self._title,
            self._x_stream,
            self._now,
            self._log,
            self._sleep,
        )
        return await typist.answer(self._entry)

    def dialog(self) -> Dialog:
        """The dialog's present state in the log."""
        return Dialog(
            bool(self._awaiting) and self._open is not False, self._focused if self._dialogs.focused else None
        )

    @property
    def _title(self) -> re.Pattern[str]:
        return self._dialogs.second_factor or re.compile("Second Factor Authentication")

    @property
    def _file(self) -> Path:
        return self._instance.state_dir / "second-factor.json"

    def _ledger(self) -> Ledger:
        return code_ledger.read(self._file, self._now())

    def _exhausted(self) -> bool:
        return self._ledger().exhausted(self._now(), self._reset_at())

    def _reset_at(self) -> datetime | None:
        """When a person last changed the secret or requested a login."""
        asked = read_asked(asked_file(self._instance))
        moments = [newest_change([self._instance.secrets_dir / SECRET]), asked.at if asked else None]
        return max((moment for moment in moments if moment is not None), default=None)

    def _store(self, ledger: Ledger) -> None:
        try:
            code_ledger.write(self._file, ledger)
        except OSError as error:
            self._log(f"gateway-watch: the typed codes could not be recorded: {error}")
