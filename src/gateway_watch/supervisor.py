"""Runs one gateway container under systemd: starts it attached, follows its login, notifies systemd, and ends it.

The decisions are in `gateway_watch.decision`. This module is the event loop; each of its parts collects the input of
one kind of decision and carries it out: `login_handler`, `readiness`, `api_probes`, `orders_watch`, `link_watch`,
`run_end`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import decision, soft_restart
from gateway_watch.api_probes import ApiProbes, Probed
from gateway_watch.container_run import Ended, Line
from gateway_watch.engine import Engine, EngineError, Event
from gateway_watch.feed import Feed
from gateway_watch.gatekeeper import Gatekeeper
from gateway_watch.gateway_container import Created, GatewayContainer, Stopped
from gateway_watch.instance import Instance
from gateway_watch.link_watch import LinkNews, LinkWatch
from gateway_watch.login import LoginState, LoginTracker, Snapshot, modes_of
from gateway_watch.login_gate import HoldKind
from gateway_watch.login_handler import LoginHandler
from gateway_watch.login_record import LoginRecord
from gateway_watch.login_wait import countdown_line
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.orders_watch import OrdersWatch
from gateway_watch.readiness import Readiness
from gateway_watch.reminders import Facts
from gateway_watch.reminding import Reminding
from gateway_watch.run_end import RunEnd
from gateway_watch.run_files import RunFiles
from gateway_watch.screen_pictures import Notified, ScreenPictures
from gateway_watch.second_factor import Answered, SecondFactor
from gateway_watch.signatures import load
from gateway_watch.start_wait import StartWait
from gateway_watch.unit_report import UnitReport
from notifications.message import Message


@dataclass(frozen=True)
class _StopAsked:
    """SIGTERM or SIGINT."""


_Item = Answered | Notified | Line | Ended | _StopAsked | Created | Stopped | Probed | LinkNews | Event


def say(text: str) -> None:
    """One line to the journal."""
    print(text, flush=True)  # noqa: T201 - standard output is the journal


class Supervisor:
    """One run of one gateway. `run` does it all; everything outside is a parameter. ``create`` are the arguments of
    `docker create` that the container is created with; without any it must exist."""

    def __init__(
        self,
        instance: Instance,
        create: Sequence[str] = (),
        *,
        engine: Engine | None = None,
        environment: Mapping[str, str] | None = None,
        probe_seconds: float = 60.0,
        orders_seconds: float = 60.0,
        say: Callable[[str], None] = say,
        notify: Callable[[Message], object] = lambda message: None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        recorder: Recorder | None = None,
    ) -> None:
        environment = dict(os.environ) if environment is None else environment
        runtime = Path(environment["RUNTIME_DIRECTORY"]) if environment.get("RUNTIME_DIRECTORY") else None
        signatures = load(instance.login_controller)
        self._instance = instance
        self._say = say
        self._monotonic = monotonic
        self._now = now
        self._sleep = sleep
        self._recorder = recorder or Recorder()
        self._stop_asked = asyncio.Event()
        self._unit = UnitReport(instance.unit, environment, say, monotonic)
        self._files = RunFiles(instance, runtime, say, self._recorder.on_published)
        self._tracker = LoginTracker(modes_of(instance.trading_mode), float(instance.twofa_timeout), signatures)
        self._gate = Gatekeeper(instance, now, say)
        self._start = StartWait(
            instance=instance,
            files=self._files,
            unit=self._unit,
            gate=self._gate,
            signatures=signatures,
            notify=notify,
            monotonic=monotonic,
            now=now,
        )
        self._link = LinkWatch(instance, say, notify, runtime, now, sleep)
        self._second_factor = SecondFactor(instance, signatures.dialogs, environment, say, now, sleep)
        self._reminding = Reminding(instance, say, notify)
        self._container = GatewayContainer(instance, create, engine or Engine(), signatures, say)
        self._pictures = ScreenPictures(instance, environment, say, notify, now)
        self._readiness = Readiness(instance, self._unit, self._files, notify, now)
        self._probes = ApiProbes(
            instance.apis, probe_seconds, instance.unanswering_minutes, self._link.spares, say, sleep, self._recorder
        )
        self._orders = OrdersWatch(instance, orders_seconds, self._files, self._unit, say, notify, now)
        record = LoginRecord(instance, self._files, self._second_factor, say, now, self._recorder)
        self._end = RunEnd(
            instance,
            signatures,
            self._unit,
            self._files,
            record,
            self._pictures,
            self._container,
            say,
            notify,
            now,
            self._recorder,
        )
        self._login = LoginHandler(
            instance,
            self._tracker,
            self._gate,
            self._second_factor,
            self._link,
            self._files,
            self._unit,
            record,
            self._pictures,
            self._end,
            notify,
            now,
            self._recorder,
        )

    @property
    def goes_on(self) -> bool:
        """Whether the run that has ended must be followed by another one in this process, which waits.

        An exit before the unit is ready would be a failed start for systemd, whatever the status.
        """
        return self._end.held and not self._stop_asked.is_set()

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
            return self._end.on_engine_error(error)

    async def _signals(self) -> AsyncGenerator[_StopAsked, None]:
        await self._stop_asked.wait()
        yield _StopAsked()

    async def _await_start(self, feed: Feed[_Item]) -> bool:
        """Wait until the container may be started; return whether to continue."""

        async def stop_within(seconds: float) -> bool:
            return isinstance(await feed.next(seconds), _StopAsked)

        if not (await self._start.await_turn(stop_within) and await self._start.back_off(stop_within)):
            return False
        # A wait can last into the quiet hours.
        return await self._start.await_turn(stop_within)

    async def _create(self, feed: Feed[_Item]) -> bool:
        """Create the container; return whether to continue."""
        if not self._container.must_be_created:
            return True
        feed.add(self._container.create())
        while not isinstance(await feed.next(self._unit.beat_period), Created) and not self._stop_asked.is_set():
            self._beat()
        if self._stop_asked.is_set():
            self._unit.report("stopped before the container was started")
            return False
        return True

    async def _supervise(self, feed: Feed[_Item]) -> int:
        await self._container.inspect()
        self._tracker.mask = self._container.mask
        since = await self._container.time()
        self._unit.report("starting the container")
        self._recorder.on_start()
        self._readiness.start(self._monotonic())
        feed.add(self._container.events(since, self._sleep))
        feed.add(self._container.output(self._now, self._sleep))
        while True:
            item = await feed.next(self._seconds_to_wake())
            if isinstance(item, Ended):
                return await self._end.after_container(
                    item.code, self._snapshot(), was_ready=self._readiness.reached, restarts=self._start.restarts
                )
            news = await self._on_item(item, feed)
            if self._end.hangs(self._monotonic()):
                return self._end.leave("The container was stopped, but docker start did not exit.")
            news = self._login.on_time() or news
            if (answers := self._login.answers()) is not None:
                feed.add(answers)
            for delivery in self._pictures.deliveries():
                feed.add(delivery)
            self._evaluate(feed, news=news)
            if self._end.decided and not self._end.stopping:
                await self._end.carry_out(self._tracker.session_files)
                self._stop(feed)
            self._beat()

    async def _on_item(self, item: _Item | None, feed: Feed[_Item]) -> bool:
        """Handle an item of the feed; return whether it changed the login."""
        match item:
            case Line():
                self._say(self._container.mask(item.text))
                return self._login.on_line(item.time, item.text)
            case LinkNews():
                return self._login.on_link_news(item)
            case Answered():
                self._login.on_answered(item)
            case _StopAsked():
                self._end.ask()
                self._stop(feed)
            case Stopped():
                self._end.on_stopped(self._monotonic())
            case Probed():
                excused = self._restart_planned() or not decision.in_order(self._snapshot(), self._container.health)
                self._end.decide(self._probes.evaluate(item, excused=excused))
            case Event():
                await self._on_event(item, feed)
        return False

    async def _on_event(self, event: Event, feed: Feed[_Item]) -> None:
        """Inspect the container after an event."""
        if not await self._container.refresh():
            return
        if event.action == "start" and self._end.on_started():
            feed.add(self._container.stop(self._link.close))
        if self._container.lacks_health_check:
            self._end.decide(decision.no_health_check(self._instance.container))

    def _stop(self, feed: Feed[_Item]) -> None:
        if self._end.start_stop():
            feed.add(self._container.stop(self._link.close))

    def _evaluate(self, feed: Feed[_Item], *, news: bool) -> None:
        """What follows from the present state of the login, of the container and of the API's sessions."""
        snapshot, health, time = self._snapshot(), self._container.health, self._monotonic()
        self._readiness.update(time, snapshot, health, news=news)
        if self._end.stopping:
            return
        self._recorder.on_health(listening=health == "healthy", ready=decision.in_order(snapshot, health))
        if self._readiness.report_ready(time, snapshot, health):
            feed.add(self._probes.results())
            for api in self._instance.apis:
                feed.add(self._link.sessions(api))
        self._readiness.notify_ready(snapshot, health)
        self._readiness.store_stable(time, self._start.restarts)
        self._end.decide(self._readiness.overdue(time, snapshot))
        if self._readiness.reached and self._end.open:
            self._end.decide(self._link.judge(tries=self._tracker.reconnecting, planned=self._restart_planned()))
        if self._readiness.reached and self._end.open:
            ready = self._snapshot().state is LoginState.READY
            refused = self._link.orders_refused
            self._end.decide(self._orders.evaluate(self._monotonic(), refused=refused, ready=ready))

    def _restart_planned(self) -> bool:
        """Whether a planned restart, or one that was requested, explains that nothing answers."""
        now = self._now()
        requested = soft_restart.requested(self._instance.state_dir, now)
        return requested is not None or self._instance.calendar.in_restart_window(now)

    def _snapshot(self) -> Snapshot:
        return self._tracker.snapshot(self._now())

    def _seconds_to_wake(self) -> float:
        moments = [self._unit.next_beat]
        if (due := self._readiness.due) is not None:
            moments.append(due)
        seconds = min(moments) - self._monotonic()
        if quiet := self._tracker.deadline():
            seconds = min(seconds, (quiet - self._now()).total_seconds())
        return max(0.0, seconds)

    def _beat(self) -> None:
        """Notify systemd that the unit is healthy, and show how long the second factor is still awaited."""
        if not self._unit.beat(extend=not self._readiness.reached or self._end.stopping):
            return
        if self._end.stopping:
            return
        self._reminding.check(self._facts())
        left = self._snapshot().twofa_seconds_left
        if left is not None:
            self._unit.show(countdown_line(left, totp=self._second_factor.in_charge))

    def _facts(self) -> Facts:
        """What the reminders of an approval depend on."""
        snapshot, codes = self._snapshot(), self._second_factor.in_charge
        held = self._gate.hold is not None and self._gate.hold.kind is not HoldKind.YIELDED
        return Facts(
            self._now(),
            in_order=decision.in_order(snapshot, self._container.health),
            awaited=held or (snapshot.state is LoginState.AWAITING_2FA and not codes),
            # Who had to approve the last login has to approve the week's. A login of this run that is not done yet is
            # one that the codes can do.
            person=self._files.session.twofa is True and not (codes and not self._readiness.reached),
            since=self._files.session.since,
        )
