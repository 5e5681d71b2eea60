"""How a run ends: why, which exit status systemd gets, and what is stored, removed and reported of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gateway_watch import decision, gatekeeper, messages, soft_restart
from gateway_watch.decision import End, Reason
from gateway_watch.engine import Container, EngineError
from gateway_watch.gateway_container import GatewayContainer
from gateway_watch.instance import Instance
from gateway_watch.login import Change, LoginState, Snapshot
from gateway_watch.login_gate import Hold
from gateway_watch.login_record import LoginRecord
from gateway_watch.metrics import specs
from gateway_watch.metrics.recorder import Recorder
from gateway_watch.run_files import RunFiles
from gateway_watch.screen_pictures import ScreenPictures
from gateway_watch.signatures import SignatureSet
from gateway_watch.unit_report import UnitReport
from notifications.message import Message

AFTER_STOP_SECONDS = 10.0

_STALE_SESSION_CAUSES = frozenset({"stale_autorestart", "token_refused"})


class RunEnd:
    """The end of one run. The first decision to end it remains."""

    def __init__(
        self,
        instance: Instance,
        signatures: SignatureSet,
        unit: UnitReport,
        files: RunFiles,
        record: LoginRecord,
        pictures: ScreenPictures,
        container: GatewayContainer,
        say: Callable[[str], None],
        notify: Callable[[Message], object],
        now: Callable[[], datetime],
        recorder: Recorder,
    ) -> None:
        self._instance = instance
        self._signatures = signatures
        self._unit = unit
        self._files = files
        self._record = record
        self._pictures = pictures
        self._container = container
        self._say = say
        self._notify = notify
        self._now = now
        self._recorder = recorder
        self._end: End | None = None
        self._asked = False
        self._held = False
        self._stopping = False
        self._stopped_at: float | None = None

    # ----- the decision

    @property
    def decided(self) -> bool:
        """Whether the run has been ended by a decision."""
        return self._end is not None

    @property
    def stopping(self) -> bool:
        """Whether the container is being stopped."""
        return self._stopping

    @property
    def open(self) -> bool:
        """Whether nothing has ended the run so far."""
        return self._end is None and not self._stopping

    @property
    def held(self) -> bool:
        """Whether the run was ended to wait for a person."""
        return self._held

    def decide(self, end: End | None) -> None:
        """End the run, unless it has been ended already."""
        self._end = self._end or end

    def set_aside(self, hold: Hold) -> None:
        """End the run before the gateway requests another approval; the next run waits. That is no failure."""
        text = gatekeeper.describe(hold, self._instance)
        self._end = End(decision.OK, Reason(f"login_held_{hold.kind.value}", text, ""))
        self._held = True
        self._notify(gatekeeper.message(hold, self._instance))

    def report(self, text: str) -> None:
        """Report to systemd; once the end is decided, only to the journal: the status remains at its reason."""
        if self._end is None:
            self._unit.report(text)
        else:
            self._say(f"gateway-watch: {text}")

    # ----- the stop

    def ask(self) -> None:
        """Somebody has stopped the unit."""
        self._asked = True

    def start_stop(self) -> bool:
        """Start to stop; return whether the container must be stopped, which happens once."""
        if self._stopping:
            return False
        self._stopping = True
        if self._asked:
            self._unit.stopping()
        return True

    def on_stopped(self, time: float) -> None:
        """The container was stopped at this time of a monotonic clock."""
        self._stopped_at = time

    def on_started(self) -> bool:
        """The engine has started the container; return whether it must be stopped again."""
        if not self._stopping:
            return False
        # The stop was requested before the engine had started the container.
        self._stopped_at = None
        return True

    def hangs(self, time: float) -> bool:
        """Whether `docker start` has not exited although the container was stopped."""
        return self._stopped_at is not None and time - self._stopped_at >= AFTER_STOP_SECONDS

    async def carry_out(self, session_files: Sequence[str]) -> None:
        """Store and report the decided end, before the container is stopped. What must not be lost comes first."""
        end = self._end
        if end is None or self._stopping:
            return
        if end.open_breaker:
            self._record.open_breaker(end.reason)
        self._recorder.on_end(end.reason.cause)
        if self._held:
            self._unit.report(end.reason.text)
            return
        self._unit.report(f"{end.reason.cause}: {end.reason.line}")
        if end.reason.cause in _STALE_SESSION_CAUSES:
            await self._container.remove_files(session_files)
        session = self._files.session
        if end.status == decision.RETRY and (cost := session.restart_cost(self._instance.name)):
            self._say(f"gateway-watch: {cost}")
        cause = self._signatures.causes.get(end.reason.cause)
        # Where the controller's next try must be prevented, it has dismissed the dialog already.
        taken = None if cause is not None and cause.interrupt else await self._pictures.take(end.reason.cause)
        session = self._files.session
        picture = str(taken) if taken else session.last_screenshot
        self._files.store_session(replace(session, last_cause=end.reason.cause, last_screenshot=picture))
        self._notify(messages.on_end(self._instance, end, taken, self._now()))

    # ----- the exit status

    async def after_container(self, code: int, snapshot: Snapshot, *, was_ready: bool, restarts: int) -> int:
        """The exit status after the container has ended; ``code`` is that of `docker start`."""
        container = await self._container.find()
        if self._end is not None and not self._asked:
            return self.leave("")
        if container is not None and not container.has_started:
            text = f"The engine could not start the container: {container.error or 'see the lines above'}."
            return self.fail(Reason("start_failed", text, "Fix the reported error; systemd tries again."))
        if container is not None and container.running:
            text = "The engine ended the connection to the container, which still runs."
            return self.fail(Reason("detached", text, "systemd replaces the container."))
        code = container.exit_code if container else code
        requested = soft_restart.requested(self._instance.state_dir, self._now())
        if code == 0 and was_ready and requested is soft_restart.Kind.REPLACE:
            # As requested: the next start comes without a pause.
            self._files.store_session(replace(self._files.session, stable_restarts=restarts))
            self._recorder.on_end(specs.REPLACED)
            return self.leave("the gateway has stored its session and ended; systemd starts the new container")
        return await self._after_exit(code, container, snapshot, was_ready=was_ready)

    async def _after_exit(self, code: int, container: Container | None, snapshot: Snapshot, *, was_ready: bool) -> int:
        """The exit status after an end that was not decided here."""
        asked = self._asked or await self._unit.unit_stops()
        exit_cause = None if snapshot.cause else self._signatures.exits.get(code)
        status, reason = decision.on_end(code, snapshot, exit_cause, was_ready=was_ready, asked=asked)
        if exit_cause is not None and not asked:
            self._record.count_refusal(exit_cause, 0)
            change = Change(self._now(), snapshot.mode, LoginState.FAILED, exit_cause.text, exit_cause)
            end = decision.on_change(change, self._record.refusals(exit_cause), self._instance.max_bad_logins)
            if end is not None and end.open_breaker:
                self._record.open_breaker(end.reason)
                status, reason = end.status, end.reason
        self._recorder.on_end(reason.cause)
        line = reason.line
        if container is not None and container.oom_killed:
            line += " The kernel killed it (out of memory)."
        if not asked and status != decision.OK:
            self._record.store_cause(reason.cause)
            self._notify(messages.on_failure(self._instance, reason.cause, line, self._now()))
        self._unit.report(line)
        return status

    def on_engine_error(self, error: EngineError) -> int:
        """The exit status after an error of the engine that nothing has handled."""
        if self._end is None and not self._asked:
            return self.fail(Reason(error.kind, str(error), error.remedy))
        self._unit.report(f"{error} {error.remedy}")
        return self._end.status if self._end else decision.RETRY

    def fail(self, reason: Reason) -> int:
        """The exit status of a run that has failed, with its reason as the last status."""
        self._recorder.on_end(reason.cause)
        self._record.store_cause(reason.cause)
        self._unit.report(reason.line)
        self._notify(messages.on_failure(self._instance, reason.cause, reason.line, self._now()))
        return decision.RETRY

    def leave(self, text: str) -> int:
        """The exit status of a run that was ended on purpose, with its reason as the last status."""
        if self._end is None or self._asked:
            self._unit.report(text or "stopped")
            return decision.OK
        self._unit.report(f"{self._end.reason.cause}: {self._end.reason.line}")
        return self._end.status
