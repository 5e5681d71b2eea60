"""Replays lines of a controller through the login tracker and the supervisor's decisions, on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from conformance.captured import with_times
from conformance.controller import Line

from gateway_watch import decision
from gateway_watch.breaker import Breaker
from gateway_watch.decision import End, Progress
from gateway_watch.login import Change, LoginState, LoginTracker, Snapshot, modes_of
from gateway_watch.signatures import load

START = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
"""A Tuesday morning in New York: outside of every maintenance."""

START_TIMEOUT = 300.0
MAX_BAD_LOGINS = 2
MILLISECONDS = {"ibc": ":000", "ibcontroller": ",000"}
"""How the times end that the controllers write."""

LONG = 900.0
"""A silence that shows whether a gateway is left alone: longer than every approval that was reported."""


@dataclass(frozen=True)
class Seen:
    """What the tracker shows: state, cause id, and the ids of the warnings."""

    state: str
    cause: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What the supervisor does.

    `what`: "stop" ends the run and opens the breaker; "restart" ends the run; "exited" means that the controller has
    ended by itself and systemd starts it again; "logged off" the same after a planned logoff; "goes on" leaves it
    alone. `cause` is that of the end. `line` is the line after which it ended, None after a silence.
    """

    what: str
    cause: str | None = None
    line: str | None = None


@dataclass
class Judge:
    """One run of the supervisor over lines that come at given moments. `refusals` are those of the runs before."""

    controller: str
    trading_mode: str
    refusals: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signatures = load(self.controller)
        self.tracker = LoginTracker(modes=modes_of(self.trading_mode), signatures=signatures)
        self.breaker = Breaker(refusals=dict(self.refusals))
        self.outcome: Outcome | None = None
        self._exits = signatures.exits
        self._limited = {cause.id for cause in signatures.causes.values()}
        self._progress = Progress(unsettled=0.0)
        self._counted: dict[str, int] = {}
        self._was_ready = False
        self._last = 0.0

    def feed(self, line: Line) -> Seen:
        """Process a line; return what is known then."""
        self._pass_time(line.at)
        now = _moment(line.at)
        text = with_times(line.text, f"{now:%Y-%m-%d %H:%M:%S}{MILLISECONDS[self.controller]}")
        self._process(self.tracker.feed(now, text), line.at, line.text)
        return self.seen(line.at)

    def silence(self, seconds: float) -> Seen:
        """Advance the time without a line."""
        until = self._last + seconds
        self._pass_time(until)
        return self.seen(until)

    def end(self, exit_code: int, *, asked: bool = False) -> None:
        """The controller has ended."""
        if self.outcome is not None:
            return
        snapshot = self._snapshot(self._last)
        exit_cause = None if snapshot.cause else self._exits.get(exit_code)
        status, reason = decision.on_end(exit_code, snapshot, exit_cause, was_ready=self._was_ready, asked=asked)
        what = "exited" if status == decision.RETRY else reason.cause.replace("_", " ")
        self.outcome = Outcome(what, reason.cause if status == decision.RETRY else None)

    def seen(self, at: float) -> Seen:
        """What the tracker shows at this moment."""
        snapshot = self._snapshot(at)
        warnings = tuple(cause.id for cause in snapshot.warnings)
        return Seen(snapshot.state.value, snapshot.cause.id if snapshot.cause else None, warnings)

    def _snapshot(self, at: float) -> Snapshot:
        return self.tracker.snapshot(_moment(at))

    def _pass_time(self, until: float) -> None:
        for at in self._moments(until):
            self._process(self.tracker.after(_moment(at)), at, None)
        self._last = until

    def _moments(self, until: float) -> Iterator[float]:
        """The moments at which silence has a meaning, up to `until`."""
        while True:
            due = self.tracker.deadline()
            moments = [(due - START).total_seconds()] if due is not None else []
            limit = decision.due(self._progress, START_TIMEOUT)
            if limit is not None and self.outcome is None and limit > self._last:
                moments.append(limit)
            if not moments or min(moments) > until:
                return
            self._last = min(moments)
            yield self._last

    def _process(self, changes: Iterable[Change], at: float, line: str | None) -> None:
        news = False
        for change in changes:
            news = True
            self._count(change, at)
            refusals = self.breaker.count(change.cause.id) if change.cause else 0
            self._decide(decision.on_change(change, refusals, MAX_BAD_LOGINS), line)
        snapshot = self._snapshot(at)
        self._was_ready = self._was_ready or snapshot.state is LoginState.READY
        # The API listens from the moment at which the login has completed.
        self._progress = decision.progress(self._progress, snapshot, "healthy", at, news=news)
        self._decide(decision.on_time(self._progress, snapshot, START_TIMEOUT, at), line)

    def _count(self, change: Change, at: float) -> None:
        """Count a refusal as the supervisor does: once for each login."""
        cause, attempts = change.cause, self._snapshot(at).attempts
        if cause is None:
            if change.state is LoginState.READY:
                self.breaker = Breaker()
            return
        if decision.limit_of(cause, MAX_BAD_LOGINS) is None:
            return
        if attempts and self._counted.get(cause.id) == attempts:
            return
        self._counted[cause.id] = attempts
        self.breaker = self.breaker.after_refusal(cause.id, _moment(at))

    def _decide(self, end: End | None, line: str | None) -> None:
        if end is not None and self.outcome is None:
            self.outcome = Outcome("stop" if end.open_breaker else "restart", end.reason.cause, line)


def _moment(at: float) -> datetime:
    return START + timedelta(seconds=at)
