"""What must outlast a run: the session that was reached, refused logins in a row, and the breaker they open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gateway_watch import decision
from gateway_watch.breaker import Breaker
from gateway_watch.decision import Reason
from gateway_watch.instance import Instance
from gateway_watch.login import Change, LoginState, Snapshot
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.run_files import RunFiles
from gateway_watch.second_factor import SecondFactor
from gateway_watch.session_calendar import maintenance_end
from gateway_watch.signatures import Cause


class LoginRecord:
    """Stores the outcome of the logins of one run."""

    def __init__(
        self,
        instance: Instance,
        files: RunFiles,
        second_factor: SecondFactor,
        say: Callable[[str], None],
        now: Callable[[], datetime],
        recorder: Recorder,
    ) -> None:
        self._instance = instance
        self._files = files
        self._second_factor = second_factor
        self._say = say
        self._now = now
        self._recorder = recorder
        self._state = LoginState.STARTING
        self._attempts_at_ready = 0
        self._twofa_seen = False
        self._counted: dict[str, int] = {}

    def store_change(self, change: Change, snapshot: Snapshot) -> None:
        """Store a change of the login, after which it is as in ``snapshot``."""
        if change.state is LoginState.AWAITING_2FA:
            self._twofa_seen = True
        if change.cause is not None:
            self.count_refusal(change.cause, snapshot.attempts)
        elif snapshot.state is LoginState.READY and self._files.breaker != Breaker():
            self._files.store_breaker(Breaker())
        # A link that came back, a dialog that was closed or a notice is no new start.
        was_in = self._state in (LoginState.READY, LoginState.LINK_LOST, LoginState.BLOCKED)
        self._state = snapshot.state
        if change.state is LoginState.READY and snapshot.state is LoginState.READY and not was_in:
            self._store_ready(snapshot.attempts)

    def _store_ready(self, attempts: int) -> None:
        self._second_factor.logged_in()
        full = attempts > self._attempts_at_ready
        self._attempts_at_ready = attempts
        # What is remembered is whether the next full login needs a person.
        twofa = self._twofa_seen and not self._second_factor.in_charge
        codes = self._twofa_seen and self._second_factor.in_charge
        session = self._files.session.became_ready(self._now(), full_login=full, twofa=twofa, codes=codes)
        self._files.store_session(session)
        self._twofa_seen = False
        self._recorder.on_ready(full=full)

    def count_refusal(self, cause: Cause, attempts: int) -> None:
        """Count what may occur only so many times in a row. `attempts` are the logins of this run so far."""
        if decision.limit_of(cause, self._instance.max_bad_logins) is None:
            return
        if cause.maintenance and maintenance_end(self._now()) and self._files.credentials_proven():
            self._say(f"gateway-watch: {cause.id} is not counted: in IBKR's maintenance, with proven credentials")
            return
        # One refused attempt can show itself by more than one line.
        if attempts and self._counted.get(cause.id) == attempts:
            return
        self._counted[cause.id] = attempts
        self._files.store_breaker(self._files.breaker.after_refusal(cause.id, self._now()))

    def refusals(self, cause: Cause | None) -> int:
        """How many times in a row the cause has occurred."""
        return self._files.breaker.count(cause.id) if cause else 0

    def open_breaker(self, reason: Reason) -> None:
        """Prevent further starts until something was corrected."""
        breaker = self._files.breaker.opened(reason.cause, reason.text, reason.remedy, self._now())
        self._files.store_breaker(breaker)

    def store_cause(self, cause: str) -> None:
        """Store why the run failed."""
        self._files.store_session(replace(self._files.session, last_cause=cause))
