"""The service: assembles the engine from a configuration and its directories, and runs it under systemd.

Only the engine may end it: what cannot be served, reported or plotted is logged, and the positions stay guarded.
Exit status: 0 stopped as asked, 1 failed (to be tried again), 78 manual intervention is required first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import SystemRandom

from host_service.metrics_server import MetricsError
from host_service.notify import Notifier
from notifications.message import Message, Severity
from notifications.service import Notifications
from notifications.target import Target
from position_manager.brokers.broker import Broker
from position_manager.brokers.choice import BrokerFaultError, broker_of, fallback_of
from position_manager.clock import Clock, SystemClock
from position_manager.config import loading
from position_manager.config.errors import ConfigError
from position_manager.config.schema import Config, Mode
from position_manager.engine.engine import Engine
from position_manager.engine.engine_status import status_of
from position_manager.journal.errors import JournalAwayError, JournalError
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.paths import Paths
from position_manager.refused import RefusedError
from position_manager.reports import day_book, summary
from position_manager.reports.status import Status
from position_manager.reports.summary import SummaryError
from position_manager.rules.evaluation import Blind
from position_manager.service import logs, metrics
from position_manager.service.collecting import Collecting
from position_manager.service.control import ControlError, Server
from position_manager.service.heartbeat import Heartbeat, HeartbeatError, read_url
from position_manager.service.host_claim import SCOPE, HostClaim
from position_manager.service.last_resort import LastResort, People
from position_manager.service.order_counts import OrderCounter
from position_manager.sessions.fallback_calendar import FallbackCalendar
from position_manager.sessions.hours import BrokerCalendar, day_close
from position_manager.ulid import ulid

EXIT_OK, EXIT_RETRY, EXIT_CONFIG = 0, 1, 78

STOP_SECONDS = 15.0
"""How long the last messages may take to be sent; the next run sends the rest."""

SAMPLE_EVERY = timedelta(seconds=60)
ANSWER_SECONDS = 5.0
"""Prometheus gets no numbers if the loop does not give them within this time."""

_log = logging.getLogger(__name__)


def run(paths: Paths, environment: Mapping[str, str]) -> int:
    """Guard positions until SIGTERM or SIGINT; the exit status."""
    logs.configure(sys.stdout, environment)
    # What it writes holds account numbers.
    os.umask(0o077)
    notifier = Notifier.from_environment(environment)
    try:
        config = loading.load(paths.config)
        paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (ConfigError, OSError) as error:
        return _cannot_start(notifier, str(error))
    with notifications(paths, config) as people:
        clock = SystemClock()
        try:
            broker = broker_of(config, paths, clock)
        except BrokerFaultError as error:
            return _cannot_start(notifier, str(error))
        try:
            # The books of mode sim are its own, and shadow sends nothing.
            alone = config.mode.sends and config.mode is not Mode.SIM
            claim = HostClaim(environment.get(SCOPE, "")) if alone else _nobody
            service = Service(paths, config, broker, people, notifier, clock, fallback_of(config), claim)
            return asyncio.run(service.run())
        except Exception:
            # The interpreter itself would write it to stderr, with the account numbers in it.
            _log.critical("the position manager has failed", exc_info=True)
            return EXIT_RETRY


def _nobody(_accounts: Iterable[str]) -> str:
    """Who else guards the accounts, in a mode for which it does not matter."""
    return ""


def _cannot_start(notifier: Notifier, text: str) -> int:
    _log.critical("%s", text)
    safely(lambda: notifier.status(text))
    return EXIT_CONFIG


@contextmanager
def notifications(paths: Paths, config: Config) -> Iterator[People]:
    """Notifications that are delivered while the context lasts, alerts with a full disk too; to nobody if no address is
    set or it is wrong."""
    targets = _targets(config)
    people = Notifications(paths.outbox, targets)
    people.start()
    try:
        # Targets of its own, as the others belong to the workers' threads.
        yield LastResort(people, _targets(config) if targets else ())
    finally:
        people.stop(STOP_SECONDS)


def _targets(config: Config) -> tuple[Target, ...]:
    file = config.notifications.discord_url_file
    if file is None:
        return ()
    # Imported here: it costs memory and time that a service without notifications never needs.
    from notifications.delivery import AddressError, read_addresses, usable_targets

    try:
        targets, faults = usable_targets(read_addresses(file))
    except AddressError as error:
        _log.error("nobody is notified: %s", error)
        return ()
    for fault in faults:
        _log.error("%s The other addresses are in use.", fault)
    return targets


def safely(notify_systemd: Callable[[], None]) -> None:
    """Notify systemd; a failed notification ends nothing."""
    try:
        notify_systemd()
    except OSError as error:
        _log.warning("systemd could not be notified: %s", error)


class Service:
    """One run. Everything outside is a parameter."""

    def __init__(
        self,
        paths: Paths,
        config: Config,
        broker: Broker,
        people: People,
        notifier: Notifier,
        clock: Clock,
        fallback: FallbackCalendar | None,
        claim: Callable[[Iterable[str]], str] = lambda _accounts: "",
    ) -> None:
        self._paths = paths
        self._people = people
        self._notifier = notifier
        self._clock = clock
        self._fallback = fallback
        self._calendar = BrokerCalendar(fallback)
        self._ready_reported = False
        self._collecting = Collecting()
        self._text = ""
        self._orders = OrderCounter(clock.now)
        self._loops = 0
        self._looped_at: datetime | None = None
        self._days = day_book.DayBook(paths.days, config.hours.zone, clock.now())
        self.engine = Engine(
            config,
            broker,
            open_journal=self._open_journal,
            deliver=people.notify,
            clock=clock,
            calendar=self._calendar,
            halts=paths.halts,
            jitter=lambda: SystemRandom().uniform(0.75, 1.25),
            on_loop=self._looped,
            claim=claim,
        )

    def _open_journal(self, accounts: frozenset[str]) -> Journal:
        clock = self._clock
        stamp = Stamp(self.engine.shared.config().mode.value, accounts)
        return Journal(
            self._paths.journal(stamp.mode),
            stamp,
            clock=clock.now,
            new_id=lambda: ulid(clock.now(), os.urandom),
            observer=self._orders,
        )

    async def run(self) -> int:
        """Until a signal or a fault ends it; the exit status."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        try:
            async with Server(self._paths.socket, self, self._paths.status_socket):
                with self._metrics(loop):
                    return await self._guard(stop)
        except ControlError as error:
            return self._failed(str(error), EXIT_RETRY)
        finally:
            self._collecting.stop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _guard(self, stop: asyncio.Event) -> int:
        beside = [asyncio.create_task(self._record_the_day(stop), name="the day's profit")]
        if (heartbeat := self._heartbeat()) is not None:
            beside.append(asyncio.create_task(heartbeat.send_until(stop), name="the heartbeat"))
        if self._fallback is not None:
            loading = self._fallback.load_regularly(self._clock, stop, self._report_calendar)
            beside.append(asyncio.create_task(loading, name="the fallback calendar"))
        for task in beside:
            task.add_done_callback(_ended)
        try:
            await self.engine.run(stop)
        except JournalAwayError as error:
            return self._failed(str(error), EXIT_RETRY)
        except JournalError as error:
            title = "The position manager has ended, and stays down until a person acts"
            self._notify_end(title, str(error))
            return self._failed(str(error), EXIT_CONFIG)
        except RefusedError as error:
            return self._failed(str(error), EXIT_RETRY)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        safely(lambda: self._notifier.status("stopped"))
        return EXIT_OK

    def _failed(self, text: str, exit_status: int) -> int:
        _log.critical("%s", text)
        safely(lambda: self._notifier.status(text))
        return exit_status

    def _notify_end(self, title: str, text: str) -> None:
        mode = self.engine.shared.config().mode
        self._people.notify(Message("ended", Severity.ALERT, f"[{mode}] {title}", self._clock.now(), (text,)))

    def _report_calendar(self, text: str) -> None:
        title = f"[{self.engine.shared.config().mode}] The fallback calendar ends soon"
        message = Message("calendar_ends", Severity.WARNING, title, self._clock.now(), (text,), dedupe_key="calendar")
        self._people.notify(message)

    def _asked_to_stop(self, stop: asyncio.Event) -> None:
        _log.info("stopping")
        safely(self._notifier.stopping)
        stop.set()

    # ----- what the command line asks

    def status(self) -> Status:
        """The current status. Raises RefusedError if the journal cannot be read."""
        try:
            return status_of(self.engine, str(self._paths.config))
        except JournalError as error:
            raise RefusedError(str(error)) from error

    async def close(self, what: str, *, by: str, limit: Decimal | None) -> str:
        """Raises RefusedError."""
        try:
            return await self.engine.close(what, by=by, limit=limit)
        except JournalError as error:
            raise RefusedError(str(error)) from error

    def release(self, what: str, *, by: str) -> str:
        """Raises RefusedError."""
        try:
            return self.engine.release(what, by=by)
        except JournalError as error:
            raise RefusedError(str(error)) from error

    def rearm(self, what: str, *, by: str) -> str:
        """Raises RefusedError."""
        try:
            return self.engine.rearm(what, by=by)
        except JournalError as error:
            raise RefusedError(str(error)) from error

    def accept_account(self, account: str, *, by: str) -> str:
        """Raises RefusedError."""
        try:
            return self.engine.accept_account(account, by=by)
        except JournalError as error:
            raise RefusedError(str(error)) from error

    def reload(self) -> str:
        """All of the new configuration, or the old one stays. Raises RefusedError with the faults."""
        shared = self.engine.shared
        new = loading.reload(shared.config(), self._paths.config)
        if isinstance(new, ConfigError):
            shared.notices.notify(shared.notices.author.reload_refused(str(new)))
            raise RefusedError(f"The new configuration is refused, the old one stays:\n{new}")
        self.engine.reload(new)
        return f"{self._paths.config} is in force."

    def move_price(self, symbol: str, price: Decimal) -> str:
        """In mode sim only. Raises RefusedError."""
        # Only mode sim needs it.
        from position_manager.brokers.sim_broker import SimBroker

        broker, mode = self.engine.shared.broker, self.engine.shared.config().mode
        if not isinstance(broker, SimBroker):
            raise RefusedError(f"Mode {mode} has the prices of a real market: only those of mode sim can be moved.")
        try:
            broker.set_price(symbol, price)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        except OSError as error:
            raise RefusedError(f"The price could not be written down: {error.strerror or error}") from error
        _log.warning("%s was moved to %s by hand", symbol, price)
        return f"{symbol} is at {price} and goes on from there; its options and futures follow."

    def _asked_to_reload(self) -> None:
        try:
            _log.info("%s", self.reload())
        except RefusedError as error:
            _log.error("%s", error)

    # ----- systemd

    def _looped(self) -> None:
        """After each whole loop over the rules: only this feeds the watchdog."""
        self._loops += 1
        self._looped_at = self._clock.now()
        safely(self._notifier.watchdog)
        text = self._line()
        if text != self._text:
            self._text = text
            safely(lambda: self._notifier.status(text))
        self._collecting.on_loop(self.engine.shared.connection.state.link)
        if self.engine.synced and not self._ready_reported:
            self._ready_reported = True
            safely(self._notifier.ready)

    def _line(self) -> str:
        """The state in one line."""
        shared = self.engine.shared
        left_out = len(self.engine.left_out.present)
        blind = sum(isinstance(verdict, Blind) for verdict in shared.guard.verdicts.values())
        counts = {
            "positions": len(shared.guard.units) + left_out,
            "unprotected": blind + left_out,
            "closing": len(self.engine.closer.closings),
            "locked": len(shared.locks.present),
        }
        parts = [f"{shared.config().mode}, {shared.connection.state.phase}"]
        parts += [f"{name}: {count}" for name, count in counts.items() if count or name == "positions"]
        parts += [f"HALTED: {halt.reason}" for halt in shared.halts.present]
        return ", ".join(parts)

    # ----- beside the engine

    def _heartbeat(self) -> Heartbeat | None:
        given = self.engine.shared.config().heartbeat
        if given is None:
            return None
        try:
            url = read_url(given.url_file)
        except HeartbeatError as error:
            _log.error("there is no heartbeat: %s", error)
            return None
        every = timedelta(seconds=float(given.every_seconds))
        return Heartbeat(url, every, lambda: self.engine.ready and self.engine.quotes_fresh, self._clock)

    @contextmanager
    def _metrics(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        async def sample() -> metrics.Sample:
            return metrics.Sample(
                status=self.status(),
                notifications=self._people.counts(),
                losses=self.engine.link_status.losses,
                loops=self._loops,
                looped_at=self._looped_at,
                orders=self._orders.counts(),
            )

        def from_its_thread() -> metrics.Sample:
            asked = asyncio.run_coroutine_threadsafe(sample(), loop)
            try:
                return asked.result(ANSWER_SECONDS)
            except TimeoutError:
                asked.cancel()
                raise

        files = metrics.Files(self._paths.journal, self._paths.outbox)
        with ExitStack() as stack:
            try:
                stack.enter_context(metrics.served(self.engine.shared.config().metrics.port, from_its_thread, files))
            except MetricsError as error:
                _log.error("%s", error)
            yield

    async def _record_the_day(self, stop: asyncio.Event) -> None:
        """Note the profit each minute while a session is open, and sum the day up at its end."""
        while not await self._clock.wait(stop, SAMPLE_EVERY):
            now = self._clock.now()
            close = self._close(now) or self._days.close_after(now)
            try:
                if close is not None:
                    status = self.status()
                    self._days.add(now, day_book.profit_of(status), close, status.realized)
                elif (day := self._days.due(now)) is not None:
                    await self._sum_up(day, now)
            except (RefusedError, SummaryError) as error:
                _log.error("the day's profit: %s", error)

    def _close(self, now: datetime) -> datetime | None:
        """The end of the open sessions of what is held."""
        held = self.engine.shared.guard.positions.values()
        closes = (day_close(self._calendar.sessions(position.instrument, now), now) for position in held)
        return max((close for close in closes if close is not None), default=None)

    async def _sum_up(self, day: date, now: datetime) -> None:
        # Once only, also if it fails.
        self._days.mark_reported(now)
        zone = self.engine.shared.config().hours.zone
        self._people.notify(await summary.ask(self.status(), self._paths.newest_journal, self._paths.days, day, zone))


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s has ended, the positions stay guarded", task.get_name(), exc_info=error)
