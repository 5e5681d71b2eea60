"""Runs one gateway container under systemd: starts it attached, follows its login, notifies systemd, and ends it.

The decisions are in `gateway_watch.decision`; this module collects their input and carries them out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway_watch import (
    container_run,
    container_stop,
    decision,
    gatekeeper,
    messages,
    screenshot,
    session,
    systemd_unit,
)
from gateway_watch.backoff import failures_since_stable, pause
from gateway_watch.breaker import Breaker, BreakerFile, BreakerFileError, newest_change
from gateway_watch.code_entry import Outcome
from gateway_watch.container_run import Ended as _Ended
from gateway_watch.container_run import Line as _Line
from gateway_watch.decision import Answers, End, Progress, Reason
from gateway_watch.engine import Container, Engine, EngineError, Event
from gateway_watch.feed import Feed
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance
from gateway_watch.link_watch import LinkNews, LinkWatch
from gateway_watch.login import Change, LoginState, LoginTracker, Snapshot, modes_of
from gateway_watch.login_gate import SESSION_YIELDED, Hold, HoldKind
from gateway_watch.login_wait import countdown_line, describe
from gateway_watch.reminders import Facts
from gateway_watch.reminding import Reminding
from gateway_watch.second_factor import WORDS, Answered, SecondFactor
from gateway_watch.session_calendar import maintenance_end
from gateway_watch.signatures import Cause, load
from host_service import gateway_login
from host_service.gateway_login import GatewayLogin
from host_service.notify import Notifier
from ib_connection.probe import probe
from notifications.message import Message

BEAT_SECONDS = 5.0
EXTENSION_SECONDS = 60.0
"""systemd waits so much longer after each beat: long enough for a host that hangs a while."""

AFTER_STOP_SECONDS = 10.0
SCREENSHOT_SECONDS = 5.0
"""A gateway that logs in again by itself must be stopped before it does; its window alone takes longer than this."""

STABLE_SECONDS = 600.0
"""A start that lasted so long was a good one: the next failure is the first in a row."""

MAINTENANCE_MARGIN_SECONDS = 120.0
"""After the end of IBKR's maintenance the next login comes so much later."""

_KEPT_SESSION_CAUSES = frozenset({"stale_autorestart", "token_refused"})


@dataclass(frozen=True)
class _StopAsked:
    """SIGTERM or SIGINT."""


@dataclass(frozen=True)
class _Created:
    """`docker create` has done its work."""


@dataclass(frozen=True)
class _Stopped:
    """`docker stop` has done its work."""


@dataclass(frozen=True)
class _Probed:
    """All published APIs have been queried for their version."""

    answered: bool
    detail: str


@dataclass(frozen=True)
class _Notified:
    """A message with a picture has been handed over."""


_Item = Answered | _Notified | _Line | _Ended | _StopAsked | _Created | _Stopped | _Probed | LinkNews | Event


def say(text: str) -> None:
    """One line to the journal."""
    print(text, flush=True)  # noqa: T201 - standard output is the journal


@dataclass
class Supervisor:
    """One run of one gateway. `run` does it all; everything outside is a parameter. ``create`` are the arguments of
    `docker create` that the container is created with; without any it must exist."""

    instance: Instance
    create: Sequence[str] = ()
    engine: Engine = field(default_factory=Engine)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    probe_seconds: float = 60.0
    orders_seconds: float = 60.0
    say: Callable[[str], None] = say
    notify: Callable[[Message], object] = lambda message: None
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def __post_init__(self) -> None:
        self._notifier = Notifier.from_environment(self.environment)
        self._breaker_file = BreakerFile(self.instance.breaker_file, self.instance.name)
        self._breaker = Breaker()
        self._session = session.read(self.instance.session_file)
        self._signatures = load(self.instance.login_controller)
        self._tracker = LoginTracker(
            modes_of(self.instance.trading_mode), float(self.instance.twofa_timeout), self._signatures
        )
        runtime = self.environment.get("RUNTIME_DIRECTORY")
        self._runtime = Path(runtime) if runtime else None
        self._gate = Gatekeeper(self.instance, self.now, self.say)
        self._link = LinkWatch(self.instance, self.say, self.notify, self._runtime, self.now, self.sleep)
        self._second_factor = SecondFactor(
            self.instance, self._signatures.dialogs, self.environment, self.say, self.now, self.sleep
        )
        self._reminding = Reminding(self.instance, self.say, self.notify)
        self._to_answer = False
        self._login_text = ""
        self._container: Container | None = None
        self._progress = Progress()
        self._answers = Answers()
        self._end: End | None = None
        self._asked = False
        self._stopping = False
        self._stop_lock = asyncio.Lock()
        self._stop_asked = asyncio.Event()
        self._held = False
        self._stopped_at: float | None = None
        self._ready_at: float | None = None
        self._stable = False
        self._restarts = 0
        self._counted: dict[str, int] = {}
        self._state = LoginState.STARTING
        self._attempts_at_ready = 0
        self._twofa_seen = False
        self._in_order = False
        self._orders_reported = False
        self._refused_since: float | None = None
        self._to_picture: list[Message] = []
        self._status = ""
        self._beat_period = BEAT_SECONDS
        if watchdog := self.environment.get("WATCHDOG_USEC"):
            self._beat_period = min(BEAT_SECONDS, int(watchdog) / 2e6)
        self._next_beat = self.monotonic()

    async def run(self) -> int:
        """Run the gateway until it ends; the exit status for systemd (see `gateway_watch.decision`)."""
        try:
            if not self._may_start():
                return decision.MEND
            # Before the first status: whoever reads it may stop the unit at once.
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop_asked.set)
            feed: Feed[_Item] = Feed()
            async with feed:
                feed.add(self._signals())
                waited = await self._await_turn(feed) and await self._back_off(feed)
                # A wait can last into the quiet hours.
                if not (waited and await self._await_turn(feed) and await self._create(feed)):
                    return decision.OK
                return await self._supervise(feed)
        except EngineError as error:
            if self._end is None and not self._asked:
                return self._fail(Reason(error.kind, str(error), error.remedy))
            self._tell(f"{error} {error.remedy}")
            return self._end.status if self._end else decision.RETRY

    def _may_start(self) -> bool:
        try:
            breaker = self._breaker_file.read()
        except BreakerFileError as error:
            self._tell(str(error))
            return False
        files = self.instance.credential_files if breaker.about_credentials else self.instance.mendable_files
        self._breaker = breaker.mended(newest_change(files))
        if self._breaker is not breaker:
            self.say("gateway-watch: the configuration was changed since the last refused login; counting from zero")
            self._keep_breaker()
        opening = self._breaker.opening
        if opening is None:
            return True
        text = (
            f"Not started, because of {opening.cause} at {opening.at:%Y-%m-%d %H:%M:%S} UTC: {opening.text} "
            f"{opening.remedy} A changed password starts it again; without a change: "
            f"gateway-watch reset --instance {self.instance.name}"
        )
        self._tell(text)
        self.notify(messages.not_started(self.instance, opening.cause, text, self.now()))
        return False

    async def _await_turn(self, feed: Feed[_Item]) -> bool:
        """Wait without a login while the login gate is closed; return whether to continue."""
        hold, new = self._gate.at_start(self._session)
        if hold is None:
            if self._session.last_cause == SESSION_YIELDED:
                self._keep_session(replace(self._session, last_cause=None))
            return True
        if new:
            self.notify(gatekeeper.message(hold, self.instance))
        self._publish_waiting(hold)
        while (why := self._gate.over()) is None:
            self._beat()
            if isinstance(await feed.next(min(gatekeeper.POLL_SECONDS, self._beat_period)), _StopAsked):
                self._tell("stopped while no login was tried")
                return False
        # Waiting is no failure: the next start comes without a pause.
        restarts = await self._count_restarts()
        self._keep_session(replace(self._session, last_cause=None, stable_restarts=restarts))
        self._tell(f"the login is tried again: {why}")
        return True

    def _publish_waiting(self, hold: Hold) -> None:
        text = gatekeeper.describe(hold, self.instance)
        self._write_login(GatewayLogin("waiting", True, text))
        self._tell(text)

    async def _back_off(self, feed: Feed[_Item]) -> bool:
        """Wait after failed starts; return whether to continue."""
        self._restarts = await self._count_restarts()
        failures = failures_since_stable(self._restarts, self._session.stable_restarts)
        seconds = pause(failures, self._session.last_cause)
        why = f" (last: {self._session.last_cause})" if self._session.last_cause else ""
        text = f"{failures} starts in a row failed{why}; the next one comes in {seconds:.0f} s"
        if (maintenance := self._maintenance_seconds()) > seconds:
            seconds = maintenance
            at = (self.now() + timedelta(seconds=seconds)).astimezone(self.instance.timezone)
            text = (
                f"The last login failed{why} during IBKR's maintenance; "
                f"the next one comes after it, at {at:%H:%M} ({self.instance.timezone.key})"
            )
            self.notify(messages.maintenance_wait(self.instance, self._session.last_cause or "", at, self.now()))
        if seconds == 0:
            return True
        self._tell(text)
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            self._beat()
            if isinstance(await feed.next(min(left, self._beat_period)), _StopAsked):
                self._tell("stopped while waiting for the next start")
                return False
        return True

    async def _create(self, feed: Feed[_Item]) -> bool:
        """Create the container, which takes long if its image must be fetched; return whether to continue."""
        if not self.create:
            return True
        feed.add(self._creation())
        while not isinstance(await feed.next(self._beat_period), _Created) and not self._stop_asked.is_set():
            self._beat()
        if self._stop_asked.is_set():
            self._tell("stopped before the container was started")
            return False
        return True

    def _maintenance_seconds(self) -> float:
        """How long the next login must wait because the last one failed in IBKR's maintenance; 0 if it need not."""
        cause = self._signatures.causes.get(self._session.last_cause or "")
        end = maintenance_end(self.now())
        if cause is None or not cause.maintenance or end is None or not self._credentials_proven():
            return 0.0
        return (end - self.now()).total_seconds() + MAINTENANCE_MARGIN_SECONDS

    def _credentials_proven(self) -> bool:
        """Whether IBKR has accepted a login with the credentials as they are."""
        changed, ready = newest_change(self.instance.credential_files), self._session.last_restart
        return changed is not None and ready is not None and changed < ready

    async def _supervise(self, feed: Feed[_Item]) -> int:
        self._container = await self.engine.inspect(self.instance.container)
        self._tracker.mask = self._container.mask
        since = await self.engine.time()
        self._tell("starting the container")
        self._progress = Progress(unsettled=self.monotonic())
        feed.add(container_run.events(self.engine, self.instance.container, since, self.say, self.sleep))
        feed.add(container_run.output(self.engine, self.instance.container, self.say, self.now, self.sleep))
        while True:
            item = await feed.next(self._seconds_to_wake())
            heard = False
            if isinstance(item, _Ended):
                return await self._after_end(item)
            if isinstance(item, _Line):
                self.say(self._container.mask(item.text))
                self._second_factor.on_line(item.text)
                heard = self._hear(self._tracker.feed(item.time, item.text))
            elif isinstance(item, Answered):
                self._on_answered(item)
            elif isinstance(item, _StopAsked):
                self._asked = True
                self._stop(feed)
            elif isinstance(item, _Stopped):
                self._stopped_at = self.monotonic()
            elif isinstance(item, _Probed):
                self._judge_answer(item)
            elif isinstance(item, LinkNews):
                heard = self._hear_link(item)
            elif isinstance(item, Event):
                await self._look(item, feed)
            if self._stopped_at is not None and self.monotonic() - self._stopped_at >= AFTER_STOP_SECONDS:
                return self._leave("The container was stopped, but docker did not let go of it.")
            heard = self._hear(self._tracker.after(self.now())) or heard
            if self._to_answer and not self._stopping:
                feed.add(self._second_factor.answers())
            self._to_answer = False
            while self._to_picture:
                feed.add(self._notify_with_picture(self._to_picture.pop(0)))
            self._judge(feed, heard=heard)
            self._judge_link()
            self._judge_orders()
            if self._end is not None and not self._stopping:
                await self._carry_out(self._end, feed)
            self._beat()

    def _hear(self, changes: list[Change]) -> bool:
        """Handle changes of the login; return whether there were any."""
        for noted in changes:
            self._note(noted)
            change = noted
            if self._second_factor.on_change(change, self._snapshot().attempts):
                self._to_answer = True
            automatic = change.state is LoginState.AWAITING_2FA and self._second_factor.in_charge
            if automatic:
                change = replace(change, text=WORDS)
            several = len(self._tracker.modes) > 1
            text = describe(change, several)
            self._publish(text)
            if self._end is None:
                self._tell(text)
            else:
                # The status stays at the reason of the end.
                self.say(f"gateway-watch: {text}")
            if self._end is None and not self._stopping and (hold := self._gate.on_change(change)) is not None:
                self._set_aside(hold)
            if self._end is None:
                refusals = self._breaker.count(change.cause.id) if change.cause else 0
                self._end = decision.on_change(change, refusals, self.instance.max_bad_logins)
                # The end of a run is reported with its screenshot when it is carried out.
                if (
                    self._end is None
                    and not automatic
                    and (message := messages.on_change(self.instance, change, self.now()))
                ):
                    if change.state is LoginState.BLOCKED and self.instance.vnc is not None:
                        self._to_picture.append(message)
                    else:
                        self.notify(message)
        return bool(changes)

    def _on_answered(self, answered: Answered) -> None:
        """Report a dialog of the second factor that is left to a person; a missed one is no refused login."""
        if answered.outcome is Outcome.CLOSED:
            return
        message = messages.code_left(self.instance, answered.outcome, None, self.now())
        self._tell(f"{message.title}: {message.lines[0]}")
        self._to_picture.append(message)
        self._publish(message.lines[0])

    def _hear_link(self, news: LinkNews) -> bool:
        """Handle what the API reports of the connection to IBKR."""
        changes = self._tracker.link(self.now(), self._link.connected(news.mode), news.mode)
        if not self._hear(changes):
            self._publish(self._login_text)
        return bool(changes)

    def _publish(self, text: str) -> None:
        """Report the state of the login to the gateway's users."""
        self._login_text = text
        snapshot = self._snapshot()
        awaited = snapshot.state is LoginState.AWAITING_2FA and not self._second_factor.in_charge
        person = awaited or (snapshot.cause is not None and snapshot.cause.person)
        self._write_login(GatewayLogin(snapshot.state.value, person, text, self._link.report()))

    def _write_login(self, login: GatewayLogin) -> None:
        if self._runtime is None:
            return
        try:
            gateway_login.write(self._runtime, login)
        except OSError as error:
            self.say(f"gateway-watch: the state of the login could not be told: {error}")

    def _set_aside(self, hold: Hold) -> None:
        """End the run before the gateway requests another approval; the next run waits. That is no failure."""
        text = gatekeeper.describe(hold, self.instance)
        self._end = End(decision.OK, Reason(f"login_held_{hold.kind.value}", text, ""))
        self._held = True
        self.notify(gatekeeper.message(hold, self.instance))

    @property
    def goes_on(self) -> bool:
        """Whether the run that has ended must be followed by another one in this process, which waits.

        An exit before the unit is ready would be a failed start for systemd, whatever the status.
        """
        return self._held and not self._stop_asked.is_set()

    def _judge_link(self) -> None:
        """What follows from the connection to IBKR, while the gateway is up."""
        if self._ready_at is None or self._stopping or self._end is not None:
            return
        self._end = self._link.judge(tries=self._tracker.reconnecting, planned=self._restart_planned())

    def _judge_orders(self) -> None:
        """An API that is read-only against its setting is restarted once; if that does not help, people are needed."""
        refused = self._link.orders_refused
        if refused is None or self._ready_at is None or self._stopping or self._end is not None:
            return
        if not refused or self._snapshot().state is not LoginState.READY:
            self._refused_since = None
        if refused:
            # After a login the settings are applied a moment later.
            now = self.monotonic()
            self._refused_since = now if self._refused_since is None else self._refused_since
            if self._snapshot().state is not LoginState.READY or now - self._refused_since < self.orders_seconds:
                return
        restarted = self._session.read_only_restarted
        if not refused:
            if restarted:
                self._keep_session(replace(self._session, read_only_restarted=False))
                self.say("gateway-watch: the API accepts orders again")
                self.notify(messages.orders_accepted(self.instance, decision.ORDERS_REFUSED, self.now()))
            return
        reason = decision.orders_refused(restarted=restarted)
        if not restarted:
            self._keep_session(replace(self._session, read_only_restarted=True))
            self._end = End(decision.RETRY, reason)
        elif not self._orders_reported:
            self._orders_reported = True
            self._tell(f"{reason.cause}: {reason.line}")
            self.notify(messages.orders_refused(self.instance, reason, self.now()))

    def _note(self, change: Change) -> None:
        """Remember what must outlast this run."""
        snapshot = self._snapshot()
        if change.state is LoginState.AWAITING_2FA:
            self._twofa_seen = True
        if change.cause is not None:
            self._count_refusal(change.cause, snapshot.attempts)
        elif snapshot.state is LoginState.READY and self._breaker != Breaker():
            self._breaker = Breaker()
            self._keep_breaker()
        # A link that came back, a dialog that was closed or a notice is no new start.
        was_in = self._state in (LoginState.READY, LoginState.LINK_LOST, LoginState.BLOCKED)
        self._state = snapshot.state
        if change.state is LoginState.READY and snapshot.state is LoginState.READY and not was_in:
            self._second_factor.logged_in()
            full = snapshot.attempts > self._attempts_at_ready
            self._attempts_at_ready = snapshot.attempts
            # What is remembered is whether the next full login needs a person.
            twofa = self._twofa_seen and not self._second_factor.in_charge
            self._keep_session(self._session.became_ready(self.now(), full_login=full, twofa=twofa))
            self._twofa_seen = False

    def _count_refusal(self, cause: Cause, attempts: int) -> None:
        """Count what may occur only so many times in a row. `attempts` are the logins of this run so far."""
        if decision.limit_of(cause, self.instance.max_bad_logins) is None:
            return
        if cause.maintenance and maintenance_end(self.now()) and self._credentials_proven():
            self.say(f"gateway-watch: {cause.id} is not counted: in IBKR's maintenance, with proven credentials")
            return
        # One refused attempt can show itself by more than one line.
        if attempts and self._counted.get(cause.id) == attempts:
            return
        self._counted[cause.id] = attempts
        self._breaker = self._breaker.after_refusal(cause.id, self.now())
        self._keep_breaker()

    async def _look(self, event: Event, feed: Feed[_Item]) -> None:
        """See how the container is after something happened to it."""
        try:
            self._container = await self.engine.find(self.instance.container) or self._container
        except EngineError as error:
            # The engine ends: once it is back, an event comes of it.
            self.say(f"gateway-watch: {error}")
            return
        if event.action == "start" and self._stopping:
            # The stop was requested before the engine had started the container.
            self._stopped_at = None
            feed.add(self._stop_container())
        if self._container is not None and self._container.running and self._container.health is None:
            reason = Reason(
                "no_health_check",
                f"The container {self.instance.container} has no health check, so nobody knows when it listens.",
                "Run site.yml again: it writes a unit that creates the container with one.",
            )
            self._end = self._end or End(decision.MEND, reason)

    def _judge(self, feed: Feed[_Item], *, heard: bool) -> None:
        snapshot, health, now = self._snapshot(), self._health, self.monotonic()
        self._progress = decision.progress(self._progress, snapshot, health, now, heard=heard)
        if self._stopping:
            return
        if self._ready_at is None and decision.in_order(snapshot, health):
            self._ready_at = now
            self._tell(f"ready: logged in ({self.instance.trading_mode}) and listening")
            self._notifier_safely(self._notifier.ready)
            feed.add(self._probes())
            for api in self.instance.apis:
                feed.add(self._link.sessions(api))
        self._tell_people_of_order(snapshot, health)
        if self._ready_at is not None and not self._stable and now - self._ready_at >= STABLE_SECONDS:
            self._stable = True
            self._keep_session(replace(self._session, stable_restarts=self._restarts))
        if self._end is None:
            self._end = decision.on_time(self._progress, snapshot, self.instance.start_timeout, now)

    def _tell_people_of_order(self, snapshot: Snapshot, health: str | None) -> None:
        in_order = decision.in_order(snapshot, health)
        if in_order and not self._in_order:
            self.notify(messages.ready(self.instance, self.now()))
        self._in_order = in_order

    def _judge_answer(self, probed: _Probed) -> None:
        if self._restart_planned() or not decision.in_order(self._snapshot(), self._health):
            self._answers = Answers()
            return
        self._answers = self._answers.after(probed.answered, probed.detail)
        limit = self.instance.unanswering_minutes
        if self._answers.failures:
            self.say(f"gateway-watch: no answer from the API ({self._answers.failures} of {limit}): {probed.detail}")
        # A client that works is not ended for one that could not connect.
        if not self._link.spares(self._answers, limit):
            self._end = self._end or self._answers.end(limit)

    def _restart_planned(self) -> bool:
        return self.instance.calendar.in_restart_window(self.now())

    async def _carry_out(self, end: End, feed: Feed[_Item]) -> None:
        """Start to end the run. What must not be lost comes first."""
        if self._held:
            self._tell(end.reason.text)
            self._stop(feed)
            return
        if end.open_breaker:
            self._open_breaker(end.reason)
        self._tell(f"{end.reason.cause}: {end.reason.line}")
        if end.reason.cause in _KEPT_SESSION_CAUSES:
            await self._remove_kept_files()
        if end.status == decision.RETRY and (cost := self._session.restart_cost(self.instance.name)):
            self.say(f"gateway-watch: {cost}")
        cause = self._signatures.causes.get(end.reason.cause)
        # Where the controller's next try must be prevented, it has dismissed the dialog already.
        taken = None if cause is not None and cause.interrupt else await self._picture(end.reason.cause)
        picture = str(taken) if taken else self._session.last_screenshot
        self._keep_session(replace(self._session, last_cause=end.reason.cause, last_screenshot=picture))
        self.notify(messages.on_end(self.instance, end, taken, self.now()))
        self._stop(feed)

    async def _notify_with_picture(self, message: Message) -> AsyncGenerator[_Item, None]:
        """Notify with a screenshot, if one can be taken: it shows more than a title."""
        self.notify(replace(message, attachment=await self._picture(message.kind)))
        yield _Notified()

    async def _picture(self, cause: str) -> Path | None:
        if self.instance.vnc is None:
            return None
        try:
            password = screenshot.password_file(self.instance, self.environment)
            taken = await screenshot.save(self.instance, password, cause, self.now(), SCREENSHOT_SECONDS)
        except screenshot.ScreenshotError as error:
            self.say(f"gateway-watch: no screenshot: {error}")
            return None
        self.say(f"gateway-watch: the screen at this moment is in {taken}")
        return taken

    async def _remove_kept_files(self) -> None:
        """Remove the files of a session that IBKR rejects, so that the next start is a full login."""
        for path in self._tracker.kept_files:
            try:
                await self.engine.remove_file(self.instance.container, path)
                self.say(f"gateway-watch: removed {path} in the container, so that the next start is a full login")
            except EngineError as error:
                self.say(f"gateway-watch: {path} could not be removed: {error}")

    def _stop(self, feed: Feed[_Item]) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._asked:
            self._notifier_safely(self._notifier.stopping)
        feed.add(self._stop_container())

    async def _after_end(self, ended: _Ended) -> int:
        container = await self.engine.find(self.instance.container)
        if self._end is not None and not self._asked:
            return self._leave("")
        if container is not None and not container.has_started:
            text = f"The engine could not start the container: {container.error or 'see the lines above'}."
            return self._fail(Reason("start_failed", text, "Fix the reported error; systemd tries again."))
        if container is not None and container.running:
            text = "The engine ended the connection to the container, which still runs."
            return self._fail(Reason("detached", text, "systemd replaces the container."))
        code = container.exit_code if container else ended.code
        snapshot = self._snapshot()
        asked = self._asked or await self._unit_stops()
        exit_cause = None if snapshot.cause else self._signatures.exits.get(code)
        status, reason = decision.on_end(code, snapshot, exit_cause, was_ready=self._ready_at is not None, asked=asked)
        if exit_cause is not None and not asked:
            self._count_refusal(exit_cause, 0)
            change = Change(self.now(), snapshot.mode, LoginState.FAILED, exit_cause.text, exit_cause)
            end = decision.on_change(change, self._breaker.count(exit_cause.id), self.instance.max_bad_logins)
            if end is not None and end.open_breaker:
                self._open_breaker(end.reason)
                status, reason = end.status, end.reason
        line = reason.line
        if container is not None and container.oom_killed:
            line += " The kernel killed it (out of memory)."
        if not asked and status != decision.OK:
            self._keep_session(replace(self._session, last_cause=reason.cause))
            self.notify(messages.on_failure(self.instance, reason.cause, line, self.now()))
        self._tell(line)
        return status

    def _open_breaker(self, reason: Reason) -> None:
        self._breaker = self._breaker.opened(reason.cause, reason.text, reason.remedy, self.now())
        self._keep_breaker()

    def _fail(self, reason: Reason) -> int:
        self._keep_session(replace(self._session, last_cause=reason.cause))
        self._tell(reason.line)
        self.notify(messages.on_failure(self.instance, reason.cause, reason.line, self.now()))
        return decision.RETRY

    def _leave(self, text: str) -> int:
        """The exit status of a run that was ended on purpose, with its reason as the last status."""
        if self._end is None or self._asked:
            self._tell(text or "stopped")
            return decision.OK
        self._tell(f"{self._end.reason.cause}: {self._end.reason.line}")
        return self._end.status

    async def _creation(self) -> AsyncGenerator[_Item, None]:
        await container_run.create(self.engine, self.instance.container, self.create)
        yield _Created()

    async def _stop_container(self) -> AsyncGenerator[_Item, None]:
        # One at a time: the controller that logs out is not signalled twice.
        async with self._stop_lock:
            await self._link.close()
            await container_stop.stop(self.engine, self.instance.container, self._signatures.process, say=self.say)
        yield _Stopped()

    async def _signals(self) -> AsyncGenerator[_Item, None]:
        await self._stop_asked.wait()
        yield _StopAsked()

    async def _probes(self) -> AsyncGenerator[_Item, None]:
        while True:
            await self.sleep(self.probe_seconds)
            results = [await probe(api.host, api.port) for api in self.instance.apis]
            silent = [result.detail for result in results if not result.answered]
            yield _Probed(not silent, "; ".join(silent))

    async def _count_restarts(self) -> int:
        if "INVOCATION_ID" not in self.environment:
            return 0
        process = await asyncio.create_subprocess_exec(
            *("systemctl", "show", "--property=NRestarts", "--value", "--", self.instance.unit),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if not output.strip().isdigit():
            self.say(f"gateway-watch: systemd did not say how often it restarted the unit: {errors.decode().strip()}")
            return 0
        return int(output)

    async def _unit_stops(self) -> bool:
        """Whether systemd is stopping the unit, whose ExecStop then ended the container."""
        if "INVOCATION_ID" not in self.environment:
            return False
        try:
            return (await systemd_unit.show(self.instance.unit)).stopping
        except systemd_unit.UnitError as error:
            self.say(f"gateway-watch: {error} {error.remedy}")
            return False

    def _snapshot(self) -> Snapshot:
        return self._tracker.snapshot(self.now())

    @property
    def _health(self) -> str | None:
        container = self._container
        return container.health if container is not None and container.running else None

    def _seconds_to_wake(self) -> float:
        moments = [self._next_beat]
        if (due := decision.due(self._progress, self.instance.start_timeout)) is not None:
            moments.append(due)
        seconds = min(moments) - self.monotonic()
        if quiet := self._tracker.deadline():
            seconds = min(seconds, (quiet - self.now()).total_seconds())
        return max(0.0, seconds)

    def _beat(self) -> None:
        """Notify systemd that the unit is healthy, at most once in a period."""
        if self.monotonic() < self._next_beat:
            return
        self._next_beat = self.monotonic() + self._beat_period
        if "WATCHDOG_USEC" in self.environment:
            self._notifier_safely(self._notifier.watchdog)
        if self._ready_at is None or self._stopping:
            self._notifier_safely(lambda: self._notifier.extend_timeout(EXTENSION_SECONDS))
        if not self._stopping:
            self._reminding.check(self._facts())
        left = self._snapshot().twofa_seconds_left
        if left is not None and not self._stopping:
            self._show(countdown_line(left, totp=self._second_factor.in_charge))

    def _facts(self) -> Facts:
        """What the reminders of an approval depend on."""
        snapshot, codes = self._snapshot(), self._second_factor.in_charge
        held = self._gate.hold is not None and self._gate.hold.kind is not HoldKind.YIELDED
        return Facts(
            self.now(),
            in_order=decision.in_order(snapshot, self._health),
            awaited=held or (snapshot.state is LoginState.AWAITING_2FA and not codes),
            # Who had to approve the last login has to approve the week's. A login of this run that is not done yet is
            # one that the codes can do.
            person=self._session.twofa is True and not (codes and self._ready_at is None),
            since=self._session.since,
        )

    def _tell(self, text: str) -> None:
        """To the journal and to `systemctl status`."""
        self.say(f"gateway-watch: {text}")
        self._show(text)

    def _show(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._notifier_safely(lambda: self._notifier.status(text))

    def _notifier_safely(self, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError as error:
            # A gateway that trades is not ended because systemd could not be notified.
            self.say(f"gateway-watch: systemd could not be told: {error}")

    def _keep_breaker(self) -> None:
        try:
            self._breaker_file.write(self._breaker)
        except OSError as error:
            self.say(f"gateway-watch: the breaker could not be kept, a restart will not know of it: {error}")

    def _keep_session(self, new: session.Session) -> None:
        self._session = new
        try:
            session.write(self.instance.session_file, new)
        except OSError as error:
            self.say(f"gateway-watch: the session's file could not be written: {error}")
