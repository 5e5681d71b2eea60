"""The code of an authenticator app, typed over a real VNC server into the dialog of the stand-in under the real IBC."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.display import Display
from conformance.flow import Flow, Settings
from conformance.flows import CONNECT, LIVE, LOAD, OPEN
from conformance.ibc import Ibc
from conformance.process import ControllerProcess
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch import code_entry, code_ledger
from gateway_watch.clock_error import ClockError
from gateway_watch.code_entry import Outcome
from gateway_watch.instance import Vnc, parse
from gateway_watch.login import LoginState, LoginTracker
from gateway_watch.second_factor import SECRET, SecondFactor
from gateway_watch.signatures import load
from gateway_watch.x_windows import OpenStream, on_this_machine

KEY = b"12345678901234567890"
RIGHT = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq"
WRONG = "AAAAAAAAAAAAAAAA"
TYPED = "gateway-watch: a code of the authenticator app is typed"


def totp(*, modal: bool = True, ahead: int = 0, anew: bool = False) -> str:
    """The step that opens the dialog for a code and checks what is entered."""
    return f"totp {'modal' if modal else 'modeless'} | {KEY.hex()} | {ahead} | {'new' if anew else 'same'}"


def flow(*steps: str, settings: Settings = LIVE) -> Flow:
    return Flow(
        "second_factor", "", ((*OPEN, *CONNECT, *steps, *LOAD, "idle"),), (), replace(settings, twofa_seconds=180)
    )


@contextmanager
def vnc_server(display: str) -> Iterator[int]:
    """A VNC server with the image's options; its port."""
    program = shutil.which("x11vnc")
    assert program is not None, "x11vnc is missing: apt-get install x11vnc"
    server = subprocess.Popen(
        [
            *(program, "-display", display, "-localhost", "-no6", "-autoport", "15950", "-nopw"),
            *("-forever", "-shared", "-ncache_cr"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield next(int(found[1]) for line in server.stdout if (found := re.match(r"PORT=(\d+)", line)))
    finally:
        # It does not always notice SIGTERM while its clients are gone.
        server.kill()
        server.wait(20)
        server.stdout.close()


@dataclass
class Stage:
    """One display with one or two gateways, and what answers their second factor."""

    folder: Path
    secret: str = RIGHT
    skip_after_failure: bool = True
    shift: timedelta = timedelta()
    clock: ClockError = field(default_factory=lambda: ClockError(0.0))
    events: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    state: LoginState = LoginState.STARTING

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def log(self, text: str) -> None:
        self.logged.append(text)
        self.events.append(text)
        if text.endswith(("was not accepted", "does not show", "is removed")) and self.skip_after_failure:
            # The next code comes at once, not half a minute later.
            self.shift += timedelta(seconds=30)

    @property
    def codes(self) -> list[str]:
        """What the gateway thought of each code that was entered."""
        return [line.rpartition(" ")[2] for line in self.printed if line.startswith("stand-in: the code was")]

    @property
    def ledger(self) -> code_ledger.Ledger:
        return code_ledger.read(self.folder / "state" / "second-factor.json", self.now())

    def run(self, *flows: Flow, until: Callable[[Stage], bool], seconds: float = 60) -> Stage:
        """Play the flows beside each other until the condition holds."""
        for name in ("state", "secrets"):
            (self.folder / name).mkdir(exist_ok=True)
        secret = self.folder / "secrets" / SECRET
        if not secret.exists():
            secret.write_text(f"{self.secret}\n")
            (self.folder / "secrets" / "vnc_password").write_text("unused\n")
        ibc = Ibc()
        ibc.prepare()
        with ExitStack() as stack:
            display = stack.enter_context(Display())
            port = stack.enter_context(vnc_server(display.name))
            processes = []
            for each in flows:
                folder = Path(tempfile.mkdtemp(dir=self.folder)).resolve()
                process = ControllerProcess(ibc.launch(each, folder, display.name))
                stack.callback(process.kill)
                processes.append(process)
            x_stream = on_this_machine(f"/tmp/.X11-unix/X{display.name[1:]}")  # noqa: S108 - Xvfb's place
            asyncio.run(self._follow(processes, port, x_stream, until, seconds))
        return self

    async def _follow(
        self,
        processes: list[ControllerProcess],
        port: int,
        x_stream: OpenStream,
        until: Callable[[Stage], bool],
        seconds: float,
    ) -> None:
        folders = {"state_dir": str(self.folder / "state"), "secrets_dir": str(self.folder / "secrets")}
        given = replace(parse(DOCUMENT | folders | {"totp": True}, self.folder), vnc=Vnc("127.0.0.1", port))
        modes = ("live", "paper")[: len(processes)]
        tracker = LoginTracker(modes, 180.0, load("ibc"))

        async def clock() -> ClockError:
            return self.clock

        factor = SecondFactor(given, load("ibc").dialogs, {}, self.log, self.now, clock=clock, x_stream=x_stream)
        lines: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def read(process: ControllerProcess) -> None:
            while True:
                try:
                    line = process.line(60)
                except TimeoutError:
                    return
                if line is None:
                    return
                loop.call_soon_threadsafe(lines.put_nowait, line.text)

        readers = [loop.run_in_executor(None, read, process) for process in processes]
        answers: list[asyncio.Task[None]] = []
        for mode in modes:
            tracker.feed(self.now(), f".> Starting IBC in {mode} mode, with params:")
        try:
            async with asyncio.timeout(seconds):
                quiet = False
                while not (quiet and until(self)):
                    try:
                        text = await asyncio.wait_for(lines.get(), 0.3)
                    except TimeoutError:
                        quiet = True
                        continue
                    quiet = False
                    self.printed.append(text)
                    self.events.append(text)
                    factor.on_line(text)
                    for change in tracker.feed(datetime.now(UTC), text):
                        self.state = tracker.snapshot(self.now()).state
                        if factor.on_change(change, tracker.snapshot(self.now()).attempts):
                            answers.append(asyncio.create_task(self._answer(factor)))
                        if self.state is LoginState.READY:
                            factor.logged_in()
        except TimeoutError:
            log = "\n".join((*self.printed[-25:], *self.logged))
            raise AssertionError(f"not reached in {seconds} s: {self.outcomes}\n{log}") from None
        finally:
            for task in answers:
                task.cancel()
            await asyncio.gather(*answers, return_exceptions=True)
            for process in processes:
                process.kill()
            await asyncio.gather(*readers)

    async def _answer(self, factor: SecondFactor) -> None:
        async for answered in factor.answers():
            self.outcomes.append(answered.outcome)


def ready(stage: Stage) -> bool:
    return stage.state is LoginState.READY


def ended(stage: Stage) -> bool:
    return bool(stage.outcomes) and stage.outcomes[-1] is not Outcome.CLOSED


def test_the_right_code_logs_in(tmp_path: Path) -> None:
    stage = Stage(tmp_path).run(flow(totp()), until=ready)
    assert stage.codes == ["right"]
    assert stage.logged.count(TYPED) == 1
    assert stage.ledger.typed == (), "a login ends the count"
    assert stage.ledger.last_step is not None
    kept = " ".join([*stage.logged, (tmp_path / "state" / "second-factor.json").read_text()])
    assert not re.search(r"\b\d{6}\b", kept.replace(str(stage.ledger.last_step), "")), "no code is logged or stored"


def test_the_device_is_chosen_before_the_code_is_typed(tmp_path: Path) -> None:
    settings = replace(LIVE, twofa_device="Mobile Authenticator app")
    steps = ("devices IB Key,Mobile Authenticator app | new", totp(modal=False))
    stage = Stage(tmp_path).run(flow(*steps, settings=settings), until=ready)
    assert "stand-in: chosen device: Mobile Authenticator app" in stage.printed
    assert stage.codes == ["right"]


@pytest.mark.parametrize("anew", [False, True], ids=["same_dialog", "new_dialog"])
def test_two_wrong_codes_are_the_last_ones(tmp_path: Path, anew: bool) -> None:
    stage = Stage(tmp_path, WRONG).run(flow(totp(anew=anew)), until=ended)
    assert stage.outcomes[-1] is Outcome.NOT_ACCEPTED
    assert stage.codes == ["wrong", "wrong"]
    assert not ready(stage)

    if anew:
        return
    # Another supervisor and another gateway: nothing is typed until a person has acted.
    again = Stage(tmp_path, WRONG, shift=stage.shift).run(flow(totp()), until=ended)
    assert (again.outcomes, again.codes, again.logged) == ([Outcome.NOT_ACCEPTED], [], [])


def test_a_code_that_came_too_late_is_followed_by_the_next_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path).run(flow(totp(ahead=30)), until=ready)
    assert stage.codes == ["expired", "right"]


def test_a_covered_dialog_is_brought_to_the_front(tmp_path: Path) -> None:
    stage = Stage(tmp_path).run(flow("cover 0.4 | 250,200,400,300 | 60", totp(modal=False)), until=ready)
    assert stage.codes == ["right"]
    assert not any("IBKR Gateway; event=Closed" in line for line in stage.events[: stage.events.index(TYPED)])


def test_nothing_is_typed_without_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_entry, "SEARCH_SECONDS", 1.5)
    stage = Stage(tmp_path).run(flow("push", "idle"), until=ended)
    assert (stage.outcomes, stage.logged) == ([Outcome.NO_FIELD], [])


def test_nothing_is_typed_by_a_clock_that_is_wrong(tmp_path: Path) -> None:
    stage = Stage(tmp_path, clock=ClockError(7.2)).run(flow(totp()), until=ended)
    assert stage.outcomes == [Outcome.CLOCK]
    assert stage.codes == []


def test_of_two_gateways_the_one_that_asks_gets_the_code(tmp_path: Path) -> None:
    # The second one's windows take the focus again and again while the code is awaited.
    paper = Flow("paper", "", (("pause 1", *OPEN, *CONNECT, *LOAD, "idle"),), (), Settings())
    # A code that a stolen focus has cut off is followed by the one of the next half minute; only that one is right, so
    # the clock is not moved, and the limit has this half minute in addition.
    stage = Stage(tmp_path, skip_after_failure=False).run(flow(totp()), paper, until=ready, seconds=60 + 30)
    assert stage.codes == ["right"]
