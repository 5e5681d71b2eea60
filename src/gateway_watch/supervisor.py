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
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import (
    command_server,
    container_run,
    container_stop,
    decision,
    gatekeeper,
    messages,
    screenshot,
    soft_restart,
)
from gateway_watch.breaker import Breaker
from gateway_watch.code_entry import Outcome
from gateway_watch.command_server import TemplateError
from gateway_watch.container_run import CreateError
from gateway_watch.container_run import Ended as _Ended
from gateway_watch.container_run import Line as _Line
from gateway_watch.decision import Answers, End, Progress, Reason
from gateway_watch.engine import Container, Engine, EngineError, Event
from gateway_watch.feed import Feed
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.instance import Instance
from gateway_watch.link_watch import LinkNews, LinkWatch
from gateway_watch.login import Change, LoginState, LoginTracker, Snapshot, modes_of
from gateway_watch.login_gate import Hold, HoldKind
from gateway_watch.login_wait import countdown_line, describe
from gateway_watch.metrics import specs
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.reminders import Facts
from gateway_watch.reminding import Reminding
from gateway_watch.run_files import RunFiles
from gateway_watch.second_factor import WORDS, Answered, SecondFactor
from gateway_watch.session import Session
from gateway_watch.session_calendar import maintenance_end
from gateway_watch.signatures import Cause, load
from gateway_watch.start_wait import StartWait
from gateway_watch.unit_report import UnitReport
from host_service.gateway_login import GatewayLogin
from ib_connection.probe import probe
from notifications.message import Message

AFTER_STOP_SECONDS = 10.0
SCREENSHOT_SECONDS = 5.0
"""A gateway that logs in again by itself must be stopped before it does; its window alone takes longer than this."""

STABLE_SECONDS = 600.0
"""A start that lasted so long was a good one: the next failure is the first in a row."""

_STALE_SESSION_CAUSES = frozenset({"stale_autorestart", "token_refused"})


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
    seconds: Mapping[str, float]
    """How long each API that answered took, by its mode."""


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
    recorder: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        runtime = self.environment.get("RUNTIME_DIRECTORY")
        self._runtime = Path(runtime) if runtime else None
        self._unit = UnitReport(self.instance.unit, self.environment, self.say, self.monotonic)
        self._files = RunFiles(self.instance, self._runtime, self.say, self.recorder.on_published)
        self._signatures = load(self.instance.login_controller)
        self._tracker = LoginTracker(
            modes_of(self.instance.trading_mode), float(self.instance.twofa_timeout), self._signatures
        )
        self._gate = Gatekeeper(self.instance, self.now, self.say)
        self._start = StartWait(
            instance=self.instance,
            files=self._files,
            unit=self._unit,
            gate=self._gate,
            signatures=self._signatures,
            notify=self.notify,
            monotonic=self.monotonic,
            now=self.now,
        )
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

    @property
    def _session(self) -> Session:
        return self._files.session

    async def run(self) -> int:
        """Run the gateway until it ends; the exit status for systemd (see `gateway_watch.decision`)."""
        try:
            if not self._start.allowed():
                return decision.EXIT_CONFIG
            # Before the first status: whoever reads it may stop the unit at once.
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop_asked.set)
            feed: Feed[_Item] = Feed()
            async with feed:
                feed.add(self._signals())
                if not (await self._await_start(feed) and await self._create(feed)):
                    return decision.OK
                return await self._supervise(feed)
        except EngineError as error:
            if self._end is None and not self._asked:
                return self._fail(Reason(error.kind, str(error), error.remedy))
            self._unit.report(f"{error} {error.remedy}")
            return self._end.status if self._end else decision.RETRY

    async def _await_start(self, feed: Feed[_Item]) -> bool:
        """Wait until the container may be started; return whether to continue."""

        async def stop_within(seconds: float) -> bool:
            return isinstance(await feed.next(seconds), _StopAsked)

        if not (await self._start.await_turn(stop_within) and await self._start.back_off(stop_within)):
            return False
        self._restarts = self._start.restarts
        # A wait can last into the quiet hours.
        return await self._start.await_turn(stop_within)

    async def _create(self, feed: Feed[_Item]) -> bool:
        """Create the container, which takes long if its image must be fetched; return whether to continue."""
        if not self.create:
            return True
        feed.add(self._creation())
        while not isinstance(await feed.next(self._unit.beat_period), _Created) and not self._stop_asked.is_set():
            self._beat()
        if self._stop_asked.is_set():
            self._unit.report("stopped before the container was started")
            return False
        return True

    async def _supervise(self, feed: Feed[_Item]) -> int:
        self._container = await self.engine.inspect(self.instance.container)
        self._tracker.mask = self._container.mask
        since = await self.engine.time()
        self._unit.report("starting the container")
        self.recorder.on_start()
        self._progress = Progress(unsettled=self.monotonic())
        feed.add(container_run.events(self.engine, self.instance.container, since, self.say, self.sleep))
        feed.add(container_run.output(self.engine, self.instance.container, self.say, self.now, self.sleep))
        while True:
            item = await feed.next(self._seconds_to_wake())
            news = False
            if isinstance(item, _Ended):
                return await self._after_end(item)
            if isinstance(item, _Line):
                self.say(self._container.mask(item.text))
                self._second_factor.on_line(item.text)
                news = self._on_changes(self._tracker.feed(item.time, item.text))
            elif isinstance(item, Answered):
                self._on_answered(item)
            elif isinstance(item, _StopAsked):
                self._asked = True
                self._stop(feed)
            elif isinstance(item, _Stopped):
                self._stopped_at = self.monotonic()
            elif isinstance(item, _Probed):
                self._on_probed(item)
            elif isinstance(item, LinkNews):
                news = self._on_link_news(item)
            elif isinstance(item, Event):
                await self._on_event(item, feed)
            if self._stopped_at is not None and self.monotonic() - self._stopped_at >= AFTER_STOP_SECONDS:
                return self._leave("The container was stopped, but docker start did not exit.")
            news = self._on_changes(self._tracker.after(self.now())) or news
            if self._to_answer and not self._stopping:
                feed.add(self._second_factor.answers())
            self._to_answer = False
            while self._to_picture:
                feed.add(self._notify_with_picture(self._to_picture.pop(0)))
            self._evaluate(feed, news=news)
            self._evaluate_link()
            self._evaluate_orders()
            if self._end is not None and not self._stopping:
                await self._carry_out(self._end, feed)
            self._beat()

    def _on_changes(self, changes: list[Change]) -> bool:
        """Handle changes of the login; return whether there were any."""
        for recorded in changes:
            self._record(recorded)
            change = recorded
            if self._second_factor.on_change(change, self._snapshot().attempts):
                self._to_answer = True
            automatic = change.state is LoginState.AWAITING_2FA and self._second_factor.in_charge
            self.recorder.on_change(recorded, self._snapshot().attempts, approvable=not automatic)
            if automatic:
                change = replace(change, text=WORDS)
            several = len(self._tracker.modes) > 1
            text = describe(change, several)
            self._publish(text)
            if self._end is None:
                self._unit.report(text)
            else:
                # The status stays at the reason of the end.
                self.say(f"gateway-watch: {text}")
            if self._end is None and not self._stopping and (hold := self._gate.on_change(change)) is not None:
                self._set_aside(hold)
            if self._end is None:
                refusals = self._files.breaker.count(change.cause.id) if change.cause else 0
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
        self._unit.report(f"{message.title}: {message.lines[0]}")
        self._to_picture.append(message)
        self._publish(message.lines[0])

    def _on_link_news(self, news: LinkNews) -> bool:
        """Handle what the API reports of the connection to IBKR."""
        self.recorder.on_session(held=self._link.held)
        changes = self._tracker.link(self.now(), self._link.connected(news.mode), news.mode)
        if not self._on_changes(changes):
            self._publish(self._login_text)
        return bool(changes)

    def _publish(self, text: str) -> None:
        """Report the state of the login to the gateway's users."""
        self._login_text = text
        snapshot = self._snapshot()
        awaited = snapshot.state is LoginState.AWAITING_2FA and not self._second_factor.in_charge
        person = awaited or (snapshot.cause is not None and snapshot.cause.person)
        self._files.publish(GatewayLogin(snapshot.state.value, person, text, self._link.report()))

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

    def _evaluate_link(self) -> None:
        """What follows from the connection to IBKR, while the gateway is up."""
        if self._ready_at is None or self._stopping or self._end is not None:
            return
        self._end = self._link.judge(tries=self._tracker.reconnecting, planned=self._restart_planned())

    def _evaluate_orders(self) -> None:
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
                self._files.store_session(replace(self._session, read_only_restarted=False))
                self.say("gateway-watch: the API accepts orders again")
                self.notify(messages.orders_accepted(self.instance, decision.ORDERS_REFUSED, self.now()))
            return
        reason = decision.orders_refused(restarted=restarted)
        if not restarted:
            self._files.store_session(replace(self._session, read_only_restarted=True))
            self._end = End(decision.RETRY, reason)
        elif not self._orders_reported:
            self._orders_reported = True
            self._unit.report(f"{reason.cause}: {reason.line}")
            self.notify(messages.orders_refused(self.instance, reason, self.now()))

    def _record(self, change: Change) -> None:
        """Remember what must outlast this run."""
        snapshot = self._snapshot()
        if change.state is LoginState.AWAITING_2FA:
            self._twofa_seen = True
        if change.cause is not None:
            self._count_refusal(change.cause, snapshot.attempts)
        elif snapshot.state is LoginState.READY and self._files.breaker != Breaker():
            self._files.store_breaker(Breaker())
        # A link that came back, a dialog that was closed or a notice is no new start.
        was_in = self._state in (LoginState.READY, LoginState.LINK_LOST, LoginState.BLOCKED)
        self._state = snapshot.state
        if change.state is LoginState.READY and snapshot.state is LoginState.READY and not was_in:
            self._second_factor.logged_in()
            full = snapshot.attempts > self._attempts_at_ready
            self._attempts_at_ready = snapshot.attempts
            # What is remembered is whether the next full login needs a person.
            twofa = self._twofa_seen and not self._second_factor.in_charge
            codes = self._twofa_seen and self._second_factor.in_charge
            self._files.store_session(self._session.became_ready(self.now(), full_login=full, twofa=twofa, codes=codes))
            self._twofa_seen = False
            self.recorder.on_ready(full=full)

    def _count_refusal(self, cause: Cause, attempts: int) -> None:
        """Count what may occur only so many times in a row. `attempts` are the logins of this run so far."""
        if decision.limit_of(cause, self.instance.max_bad_logins) is None:
            return
        if cause.maintenance and maintenance_end(self.now()) and self._files.credentials_proven():
            self.say(f"gateway-watch: {cause.id} is not counted: in IBKR's maintenance, with proven credentials")
            return
        # One refused attempt can show itself by more than one line.
        if attempts and self._counted.get(cause.id) == attempts:
            return
        self._counted[cause.id] = attempts
        self._files.store_breaker(self._files.breaker.after_refusal(cause.id, self.now()))

    async def _on_event(self, event: Event, feed: Feed[_Item]) -> None:
        """Inspect the container after an event."""
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
                f"The container {self.instance.container} has no health check, so its readiness cannot be detected.",
                "Run site.yml again: it writes a unit that creates the container with one.",
            )
            self._end = self._end or End(decision.EXIT_CONFIG, reason)

    def _evaluate(self, feed: Feed[_Item], *, news: bool) -> None:
        snapshot, health, now = self._snapshot(), self._health, self.monotonic()
        self._progress = decision.progress(self._progress, snapshot, health, now, news=news)
        if self._stopping:
            return
        self.recorder.on_health(listening=health == "healthy", ready=decision.in_order(snapshot, health))
        if self._ready_at is None and decision.in_order(snapshot, health):
            self._ready_at = now
            self._unit.report(f"ready: logged in ({self.instance.trading_mode}) and listening")
            self._unit.ready()
            feed.add(self._probes())
            for api in self.instance.apis:
                feed.add(self._link.sessions(api))
        self._notify_ready(snapshot, health)
        if self._ready_at is not None and not self._stable and now - self._ready_at >= STABLE_SECONDS:
            self._stable = True
            self._files.store_session(replace(self._session, stable_restarts=self._restarts))
        if self._end is None:
            self._end = decision.on_time(self._progress, snapshot, self.instance.start_timeout, now)

    def _notify_ready(self, snapshot: Snapshot, health: str | None) -> None:
        in_order = decision.in_order(snapshot, health)
        if in_order and not self._in_order:
            self.notify(messages.ready(self.instance, self.now()))
        self._in_order = in_order

    def _on_probed(self, probed: _Probed) -> None:
        if self._restart_planned() or not decision.in_order(self._snapshot(), self._health):
            self._answers = Answers()
            return
        self._answers = self._answers.after(probed.answered, probed.detail)
        self.recorder.on_probe(probed.seconds, self._answers.failures)
        limit = self.instance.unanswering_minutes
        if self._answers.failures:
            self.say(f"gateway-watch: no answer from the API ({self._answers.failures} of {limit}): {probed.detail}")
        # A client that works is not ended for one that could not connect.
        if not self._link.spares(self._answers, limit):
            self._end = self._end or self._answers.end(limit)

    def _restart_planned(self) -> bool:
        """Whether a planned restart, or one that was requested, explains that nothing answers."""
        return self._soft_restart() is not None or self.instance.calendar.in_restart_window(self.now())

    def _soft_restart(self) -> soft_restart.Kind | None:
        """The kind of the soft restart that is in progress."""
        request = soft_restart.read_request(soft_restart.request_file(self.instance.state_dir))
        return request.kind if request is not None and request.in_progress(self.now()) else None

    async def _carry_out(self, end: End, feed: Feed[_Item]) -> None:
        """Start to end the run. What must not be lost comes first."""
        self.recorder.on_end(end.reason.cause)
        if self._held:
            self._unit.report(end.reason.text)
            self._stop(feed)
            return
        if end.open_breaker:
            self._open_breaker(end.reason)
        self._unit.report(f"{end.reason.cause}: {end.reason.line}")
        if end.reason.cause in _STALE_SESSION_CAUSES:
            await self._remove_session_files()
        if end.status == decision.RETRY and (cost := self._session.restart_cost(self.instance.name)):
            self.say(f"gateway-watch: {cost}")
        cause = self._signatures.causes.get(end.reason.cause)
        # Where the controller's next try must be prevented, it has dismissed the dialog already.
        taken = None if cause is not None and cause.interrupt else await self._picture(end.reason.cause)
        picture = str(taken) if taken else self._session.last_screenshot
        self._files.store_session(replace(self._session, last_cause=end.reason.cause, last_screenshot=picture))
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

    async def _remove_session_files(self) -> None:
        """Remove the files of a session that IBKR rejects, so that the next start is a full login."""
        for path in self._tracker.session_files:
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
            self._unit.stopping()
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
        if code == 0 and self._ready_at is not None and self._soft_restart() is soft_restart.Kind.REPLACE:
            # As requested: the next start comes without a pause.
            self._files.store_session(replace(self._session, stable_restarts=self._restarts))
            self.recorder.on_end(specs.REPLACED)
            return self._leave("the gateway has stored its session and ended; systemd starts the new container")
        asked = self._asked or await self._unit.unit_stops()
        exit_cause = None if snapshot.cause else self._signatures.exits.get(code)
        status, reason = decision.on_end(code, snapshot, exit_cause, was_ready=self._ready_at is not None, asked=asked)
        if exit_cause is not None and not asked:
            self._count_refusal(exit_cause, 0)
            change = Change(self.now(), snapshot.mode, LoginState.FAILED, exit_cause.text, exit_cause)
            end = decision.on_change(change, self._files.breaker.count(exit_cause.id), self.instance.max_bad_logins)
            if end is not None and end.open_breaker:
                self._open_breaker(end.reason)
                status, reason = end.status, end.reason
        self.recorder.on_end(reason.cause)
        line = reason.line
        if container is not None and container.oom_killed:
            line += " The kernel killed it (out of memory)."
        if not asked and status != decision.OK:
            self._files.store_session(replace(self._session, last_cause=reason.cause))
            self.notify(messages.on_failure(self.instance, reason.cause, line, self.now()))
        self._unit.report(line)
        return status

    def _open_breaker(self, reason: Reason) -> None:
        self._files.store_breaker(self._files.breaker.opened(reason.cause, reason.text, reason.remedy, self.now()))

    def _fail(self, reason: Reason) -> int:
        self.recorder.on_end(reason.cause)
        self._files.store_session(replace(self._session, last_cause=reason.cause))
        self._unit.report(reason.line)
        self.notify(messages.on_failure(self.instance, reason.cause, reason.line, self.now()))
        return decision.RETRY

    def _leave(self, text: str) -> int:
        """The exit status of a run that was ended on purpose, with its reason as the last status."""
        if self._end is None or self._asked:
            self._unit.report(text or "stopped")
            return decision.OK
        self._unit.report(f"{self._end.reason.cause}: {self._end.reason.line}")
        return self._end.status

    async def _creation(self) -> AsyncGenerator[_Item, None]:
        await container_run.create(self.engine, self.instance.container, self.create)
        await self._enable_commands()
        yield _Created()

    async def _enable_commands(self) -> None:
        """Create the container again with the command server, where restarts can keep the session."""
        server, instance = self._signatures.command_server, self.instance
        reason = soft_restart.unavailable(
            enabled=instance.soft_restart,
            controller=instance.login_controller,
            commanded=server is not None,
            trading_mode=instance.trading_mode,
            daily=instance.auto_restart_time,
        )
        if reason or server is None:
            self.say(f"gateway-watch: each restart is a full login: {reason}")
            return
        try:
            added = await command_server.options(self.engine, instance.container, server, instance.state_dir)
        except TemplateError as error:
            self.say(f"gateway-watch: each restart is a full login: {error}")
            return
        try:
            await container_run.create(self.engine, instance.container, [*added, *self.create])
        except CreateError as error:
            self.say(f"gateway-watch: each restart is a full login: {error}")
            await container_run.create(self.engine, instance.container, self.create)

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
            answers = zip(self.instance.apis, results, strict=True)
            seconds = {api.mode: result.elapsed for api, result in answers if result.answered}
            yield _Probed(not silent, "; ".join(silent), seconds)

    def _snapshot(self) -> Snapshot:
        return self._tracker.snapshot(self.now())

    @property
    def _health(self) -> str | None:
        container = self._container
        return container.health if container is not None and container.running else None

    def _seconds_to_wake(self) -> float:
        moments = [self._unit.next_beat]
        if (due := decision.due(self._progress, self.instance.start_timeout)) is not None:
            moments.append(due)
        seconds = min(moments) - self.monotonic()
        if quiet := self._tracker.deadline():
            seconds = min(seconds, (quiet - self.now()).total_seconds())
        return max(0.0, seconds)

    def _beat(self) -> None:
        """Notify systemd that the unit is healthy, and show how long the second factor is still awaited."""
        if not self._unit.beat(extend=self._ready_at is None or self._stopping):
            return
        if not self._stopping:
            self._reminding.check(self._facts())
        left = self._snapshot().twofa_seconds_left
        if left is not None and not self._stopping:
            self._unit.show(countdown_line(left, totp=self._second_factor.in_charge))

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
