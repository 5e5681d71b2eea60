"""What follows from each change of the login: it is stored, published, notified, and it can end the run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import datetime

from gateway_watch import decision, messages
from gateway_watch.code_entry import Outcome
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance
from gateway_watch.link_watch import LinkNews, LinkWatch
from gateway_watch.login import Change, LoginState, LoginTracker
from gateway_watch.login_record import LoginRecord
from gateway_watch.login_wait import describe
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.run_end import RunEnd
from gateway_watch.run_files import RunFiles
from gateway_watch.screen_pictures import ScreenPictures
from gateway_watch.second_factor import WORDS, Answered, SecondFactor
from gateway_watch.unit_report import UnitReport
from host_service.gateway_login import GatewayLogin
from notifications.message import Message


class LoginHandler:
    """Handles the changes of one run's login, in their order."""

    def __init__(
        self,
        instance: Instance,
        tracker: LoginTracker,
        gate: Gatekeeper,
        second_factor: SecondFactor,
        link: LinkWatch,
        files: RunFiles,
        unit: UnitReport,
        record: LoginRecord,
        pictures: ScreenPictures,
        end: RunEnd,
        notify: Callable[[Message], object],
        now: Callable[[], datetime],
        recorder: Recorder,
    ) -> None:
        self._instance = instance
        self._tracker = tracker
        self._gate = gate
        self._second_factor = second_factor
        self._link = link
        self._files = files
        self._unit = unit
        self._record = record
        self._pictures = pictures
        self._end = end
        self._notify = notify
        self._now = now
        self._recorder = recorder
        self._to_answer = False
        self._text = ""

    def on_line(self, time: datetime, text: str) -> bool:
        """Handle a line of the log; return whether it changed the login."""
        self._second_factor.on_line(text)
        return self._on_changes(self._tracker.feed(time, text))

    def on_time(self) -> bool:
        """Handle what follows from the absence of a line; return whether it changed the login."""
        return self._on_changes(self._tracker.after(self._now()))

    def on_link_news(self, news: LinkNews) -> bool:
        """Handle what the API reports of the connection to IBKR; return whether it changed the login."""
        self._recorder.on_session(held=self._link.held)
        changes = self._tracker.link(self._now(), self._link.connected(news.mode), news.mode)
        if not self._on_changes(changes):
            self._publish(self._text)
        return bool(changes)

    def on_answered(self, answered: Answered) -> None:
        """Report a dialog of the second factor that is left to a person; a missed one is no refused login."""
        if answered.outcome is Outcome.CLOSED:
            return
        message = messages.code_left(self._instance, answered.outcome, None, self._now())
        self._unit.report(f"{message.title}: {message.lines[0]}")
        self._pictures.add(message)
        self._publish(message.lines[0])

    def answers(self) -> AsyncGenerator[Answered, None] | None:
        """The answer to a dialog of the second factor that has opened since the last call, if one must be given."""
        due, self._to_answer = self._to_answer, False
        return self._second_factor.answers() if due and not self._end.stopping else None

    def _on_changes(self, changes: list[Change]) -> bool:
        for change in changes:
            self._on_change(change)
        return bool(changes)

    def _on_change(self, change: Change) -> None:
        snapshot = self._tracker.snapshot(self._now())
        self._record.store_change(change, snapshot)
        if self._second_factor.on_change(change, snapshot.attempts):
            self._to_answer = True
        automatic = change.state is LoginState.AWAITING_2FA and self._second_factor.in_charge
        self._recorder.on_change(change, snapshot.attempts, approvable=not automatic)
        if automatic:
            change = replace(change, text=WORDS)
        text = describe(change, len(self._tracker.modes) > 1)
        self._publish(text)
        self._end.report(text)
        if self._end.open and (hold := self._gate.on_change(change)) is not None:
            self._end.set_aside(hold)
        if self._end.decided:
            return
        refusals = self._record.refusals(change.cause)
        self._end.decide(decision.on_change(change, refusals, self._instance.max_bad_logins))
        # The end of a run is reported with its screenshot when it is carried out.
        if not self._end.decided and not automatic:
            self._notify_change(change)

    def _notify_change(self, change: Change) -> None:
        message = messages.on_change(self._instance, change, self._now())
        if message is None:
            return
        if change.state is LoginState.BLOCKED and self._pictures.possible:
            self._pictures.add(message)
        else:
            self._notify(message)

    def _publish(self, text: str) -> None:
        """Report the state of the login to the gateway's users."""
        self._text = text
        snapshot = self._tracker.snapshot(self._now())
        awaited = snapshot.state is LoginState.AWAITING_2FA and not self._second_factor.in_charge
        person = awaited or (snapshot.cause is not None and snapshot.cause.person)
        self._files.publish(GatewayLogin(snapshot.state.value, person, text, self._link.report()))
