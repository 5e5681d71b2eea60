"""What the runs of a gateway report for the metrics: the supervisor's thread writes, the server's thread reads.

Counters are stored at each event, since the supervisor ends with the gateway. Nothing here fails: a counter that cannot
be stored is logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import counter_file
from gateway_watch.clock_error import ClockError
from gateway_watch.counter_file import RUNS, Counters
from gateway_watch.ibkr_link import LinkState
from gateway_watch.login import Change
from gateway_watch.metrics import specs
from gateway_watch.metrics.approvals import Approvals, Event
from gateway_watch.signatures import NextStep, SessionKind
from host_service.gateway_login import GatewayLogin

FILE = "counters.json"

_COUNTED = {
    Event.REQUESTED: specs.APPROVAL_REQUESTS,
    Event.GIVEN: specs.APPROVALS_GIVEN,
    Event.MISSED: specs.APPROVALS_MISSED,
}


@dataclass(frozen=True)
class View:
    """All of it at one moment. None: not known. ``since``: since when the login is in its state."""

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    login: GatewayLogin | None = None
    since: datetime | None = None
    ready: bool = False
    listening: bool = False
    answering: bool | None = None
    verified: bool | None = None
    probe_failures: int = 0
    probe_seconds: Mapping[str, float] = field(default_factory=dict)
    start_seconds: float | None = None
    clock: ClockError | None = None


class Recorder:
    """Of one process, over all runs in it. Without a path nothing is stored. What arrives about a gateway whose run has
    ended, while its container is being stopped, does not change what is shown."""

    def __init__(
        self,
        path: Path | None = None,
        say: Callable[[str], None] = lambda _text: None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._say, self._now, self._monotonic = path, say, now, monotonic
        self._counters = counter_file.read(path) if path is not None else Counters()
        self._approvals = Approvals()
        self._runs = False
        self._started: float | None = None
        self._refused: set[tuple[str, int]] = set()
        self.view = View(self._counted())
        """Replaced as a whole, so that another thread reads what belongs together."""

    # ----- the run

    def on_start(self) -> None:
        """The container is about to be started."""
        last = self._counters.last_run
        if last:
            self._counters.add(specs.RESTARTS, specs.KILLED if last == RUNS else last)
        self._counters.last_run = RUNS
        self._store()
        self._approvals = Approvals()
        self._refused = set()
        self._runs, self._started = True, self._monotonic()

    def on_end(self, cause: str) -> None:
        """The run is over, or about to be. The first cause counts; what ends before the container is started is no
        run."""
        if not self._runs:
            return
        self._runs, self._started = False, None
        self._counters.last_run = cause
        self._store()
        self.view = replace(
            self.view,
            ready=False,
            listening=False,
            answering=None,
            verified=None,
            probe_failures=0,
            probe_seconds={},
        )

    def on_health(self, *, listening: bool, ready: bool) -> None:
        """Whether the gateway listens, and whether it is logged in besides."""
        if self._runs and (listening, ready) != (self.view.listening, self.view.ready):
            self.view = replace(self.view, listening=listening, ready=ready)

    def on_ready(self, *, full: bool) -> None:
        """The gateway has logged in, or continues its session."""
        if self._started is not None:
            # Later restarts within the container are not measured.
            self.view = replace(self.view, start_seconds=self._monotonic() - self._started)
            self._started = None
        self._counters.add(specs.LOGINS, (SessionKind.FULL if full else SessionKind.KEPT).value)
        self._store()

    # ----- the login

    def on_change(self, change: Change, attempts: int, *, approvable: bool) -> None:
        """A change of the login in its ``attempts``th attempt; ``approvable``: its second factor is a person's."""
        changed = False
        for event in self._approvals.on_change(change, approvable=approvable):
            self._counters.add(_COUNTED[event])
            changed = True
        cause = change.cause
        # One refused attempt can show itself by more than one line.
        if cause is not None and cause.next_step is not NextStep.GOES_ON and (cause.id, attempts) not in self._refused:
            self._refused.add((cause.id, attempts))
            self._counters.add(specs.LOGIN_REFUSALS, cause.id)
            changed = True
        if changed:
            self._store()

    def on_published(self, login: GatewayLogin) -> None:
        """The state that the gateway's users read."""
        before = self.view.login
        since = self.view.since if before is not None and before.state == login.state else self._now()
        was = before.ibkr.state if before is not None and before.ibkr is not None else None
        self.view = replace(self.view, login=login, since=since)
        if login.ibkr is not None and login.ibkr.state == LinkState.LOST and was != LinkState.LOST:
            self._counters.add(specs.LINK_LOSSES)
            self._store()

    # ----- the API

    def on_session(self, *, held: bool) -> None:
        """Whether the sessions of the supervisor itself are open and answer."""
        if self._runs:
            self.view = replace(self.view, verified=held)

    def on_probe(self, seconds: Mapping[str, float], failures: int) -> None:
        """The API was probed: how long each answer took, by mode; ``failures`` in a row."""
        if self._runs:
            self.view = replace(
                self.view, answering=failures == 0, probe_failures=failures, probe_seconds=dict(seconds)
            )

    def on_clock(self, error: ClockError) -> None:
        self.view = replace(self.view, clock=error)

    def _counted(self) -> dict[str, dict[str, int]]:
        return {name: dict(self._counters.counts.get(name, {})) for name in specs.STORED}

    def _store(self) -> None:
        self.view = replace(self.view, counts=self._counted())
        if self._path is None:
            return
        try:
            counter_file.write(self._path, self._counters)
        except OSError as error:
            self._say(f"gateway-watch: the counters of the metrics could not be stored: {error}")
