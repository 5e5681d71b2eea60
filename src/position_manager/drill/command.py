"""`position-manager drill`: which broker, what is shown meanwhile, and the verdict as a table or as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.status import Status as Spinner
from rich.table import Table
from rich.text import Text

from notifications.message import clean
from position_manager.brokers.broker import BrokerError
from position_manager.brokers.ib_broker import IbBroker
from position_manager.clock import SystemClock
from position_manager.config.loading import load
from position_manager.config.schema import Config, Mode
from position_manager.drill.bench import DrillError
from position_manager.drill.cases import CASES, SIM_CASES, Case
from position_manager.drill.drill import Conditions, Outcome, Report, one_by_one, side_by_side
from position_manager.drill.gateway import CreateBroker, Wish, opened
from position_manager.drill.sim import SimBench
from position_manager.orders.evidence import Patience
from position_manager.paths import Paths
from position_manager.service.control import AskStatus, ControlError, NotRunningError, ask

OK, NOT_OK = 0, 1


@dataclass(frozen=True)
class Options:
    """What was asked for. ``mode``: SIM, PAPER, or None for that of the configuration; ``cases``: names, none for
    all; ``patience``: after which a missing order counts as lost; ``create_broker``: the engine's at a gateway."""

    mode: Mode | None
    wish: Wish
    cases: Collection[str] = ()
    as_json: bool = False
    patience: Patience = field(default_factory=Patience)
    create_broker: CreateBroker = IbBroker


def run(paths: Paths, options: Options) -> int:
    """Drill, and report the verdict; the exit status. Raises ConfigError and DrillError."""
    # The journals of a drill hold account numbers.
    os.umask(0o077)
    simulated, config = options.mode is Mode.SIM, None
    if not simulated:
        config = load(paths.config)
        simulated = options.mode is None and config.mode is Mode.SIM
    directory = Path(tempfile.mkdtemp(prefix="position-manager-drill-"))
    retained = True
    try:
        with _logged(directory / "drill.log"):
            if simulated or config is None:
                report = asyncio.run(_simulated(options, directory))
            else:
                report = asyncio.run(_on_paper(paths, config, options, directory))
        retained = not report.passed and bool(report.outcomes or report.stopped)
    except (DrillError, KeyboardInterrupt):
        retained = False
        raise
    finally:
        if not retained:
            shutil.rmtree(directory, ignore_errors=True)
    _show(report, directory, as_json=options.as_json)
    return OK if report.passed else NOT_OK


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """What the engines and ib_insync log goes to a file, not between the lines of a table."""
    root, handler = logging.getLogger(), logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def _chosen(cases: tuple[Case, ...], names: Collection[str]) -> tuple[Case, ...]:
    chosen = tuple(case for case in cases if not names or case.name in names)
    if not chosen:
        raise DrillError(f"None of these cases can be tried here; there are: {', '.join(case.name for case in cases)}.")
    return chosen


async def _simulated(options: Options, directory: Path) -> Report:
    clock = SystemClock()
    # A kill switch of the instance is not meant for this: nothing of it is touched.
    on = Conditions(clock, directory / "HALT", options.patience)
    rows = []
    for case in _chosen(SIM_CASES, options.cases):
        own = directory / case.name
        own.mkdir()
        rows.append((case, SimBench(options.wish.symbol, own, option=options.wish.option, clock=clock), own))
    with _progress(options.patience) as progress:
        return await side_by_side(rows, on, progress)


async def _on_paper(paths: Paths, config: Config, options: Options, directory: Path) -> Report:
    if halts := paths.halts.read():
        raise DrillError("; ".join(f"Halted: {halt.reason}. To end it: {halt.remedy}" for halt in halts))
    cases = _chosen(CASES, options.cases)
    clock = SystemClock()
    on = Conditions(clock, paths.kill_switch, options.patience)
    rules = config if _runs(paths) else None
    try:
        at_gateway = opened(config, options.wish, clock=clock, rules=rules, create_broker=options.create_broker)
        async with at_gateway as bench:
            with _progress(options.patience) as progress:
                return await one_by_one(cases, bench, directory, on, progress)
    except BrokerError as error:
        raise DrillError(str(error)) from error


def _runs(paths: Paths) -> bool:
    """Whether a position manager runs, as far as this is known."""
    try:
        ask(paths.socket, AskStatus())
    except NotRunningError:
        return False
    except ControlError:
        return True
    return True


class _Progress:
    """Shows the state of every case: on a terminal in place, elsewhere a line for each change. Both go to stderr."""

    def __init__(self, console: Console, spinner: Spinner) -> None:
        self._console = console
        self._spinner = spinner
        self._states: dict[str, str] = {}

    def __call__(self, case: Case, text: str, seconds: float) -> None:
        if self._console.is_terminal:
            self._states[case.name] = f"{case.name}: {text} ({seconds:.0f} s)"
            self._spinner.update(Text("\n").join(Text(line) for line in self._states.values()))
        elif self._states.get(case.name) != text:
            self._states[case.name] = text
            self._console.print(f"{seconds:5.1f} s  {case.name}: {text}", markup=False, soft_wrap=True)


@contextmanager
def _progress(patience: Patience) -> Iterator[_Progress]:
    console = Console(stderr=True, highlight=False)
    seconds = patience.span.total_seconds()
    console.print(f"An order that never arrived takes {seconds:g} s to be proven lost. Ctrl-C ends the drill.")
    with console.status("") as spinner:
        yield _Progress(console, spinner)


def _show(report: Report, directory: Path, *, as_json: bool) -> None:
    retained = None if not directory.exists() else str(directory)
    console = Console(highlight=False)
    if as_json:
        document = {
            "passed": report.passed,
            "where": report.where,
            "cases": [_document(outcome) for outcome in report.outcomes],
            "stopped": report.stopped,
            "left": report.left,
            "kept": retained,
        }
        sys.stdout.write(clean(json.dumps(document, indent=2, ensure_ascii=False)) + "\n")
        return
    if report.outcomes:
        console.print(_table(report))
    if report.stopped:
        console.print(clean(report.stopped), markup=False, style="red")
    if report.left:
        console.print(f"STILL THERE: {report.left}", markup=False, style="bold red")
    elif not report.stopped:
        console.print("Nothing that the drill bought is left." if report.outcomes else "Nothing was bought.")
    if retained:
        console.print(f"Journals and log of the drill: {retained}", markup=False, soft_wrap=True)
    console.print("PASSED" if report.passed else "FAILED", style="green" if report.passed else "bold red")


def _document(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.case.name,
        "text": outcome.case.text,
        "contract": outcome.label,
        "bought": str(outcome.bought),
        "closed": str(outcome.closed),
        "orders": list(outcome.seen),
        "seconds": round(outcome.seconds, 1),
        "passed": outcome.passed,
        "faults": list(outcome.faults),
    }


def _table(report: Report) -> Table:
    table = Table(title=f"Drill with {report.where}", show_lines=True, title_justify="left")
    table.add_column("Case", ratio=3)
    table.add_column("What was seen of its orders", ratio=3)
    table.add_column("Seconds", justify="right", no_wrap=True)
    table.add_column("Verdict", ratio=2)
    for outcome in report.outcomes:
        verdict = f"closed once: {outcome.bought:f} of {outcome.bought:f} {outcome.label}"
        table.add_row(
            Text(outcome.case.text),
            Text("\n".join(outcome.seen) or "none"),
            f"{outcome.seconds:.1f}",
            Text(verdict, style="green") if outcome.passed else Text(clean("\n".join(outcome.faults)), style="red"),
        )
    return table
