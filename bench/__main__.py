"""``make bench``: every measurement of this repository, one after the other: ``python -m bench [--only NAME]``.

A measurement is an entry in PARTS: a module with ``rows() -> list[dict[str, object]]``, or, without it, with
``main(argv)`` that prints Markdown. Each runs in a process of its own and within its time; one that fails or takes
longer is reported as not measured and ends nothing. The results go to bench/RESULTS.md and, as plots, to bench/plots/.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench/RESULTS.md"
PLOTS = ROOT / "bench/plots"
DATA = ROOT / "bench/results.json"
SECONDS_OF_ALL = 29 * 60.0
SECONDS_TO_END = 20.0
"""For a part that is interrupted, to remove what it created."""
Row = Mapping[str, object]


@dataclass(frozen=True)
class Part:
    """A measurement: its module, what it answers, the longest it may take (seconds), the column to plot."""

    name: str
    module: str
    title: str
    seconds: float
    plot: tuple[str, ...] = ()
    notes: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What reproduces it alone."""
        return f"python -m bench --only {self.name}"


PARTS = (
    Part(
        "no_change",
        "bench.no_change_deploy",
        "A deploy that changes nothing",
        300,
        arguments=("--repeats", "1"),
        notes="`site.yml` on a converged host, by turns with the commit before, locally and with a longer round trip.",
    ),
    Part(
        "verified",
        "bench.ready_to_verified",
        "From ready to verified",
        440,
        arguments=("--repeats", "20", "--restarts", "1", "--against", "5c54de5"),
        notes="From the native port's LISTEN until the deploy has verified the gateway, by turns with the old way.",
    ),
    Part(
        "fleet",
        "bench.fleet",
        "A fleet",
        250,
        plot=("hosts", "status.yml ms a host", "site.yml ms a host"),
        notes=(
            "A `site.yml` that changes nothing and `status.yml`, both of this project. Replayed hosts give the answers "
            "of a real one in place of ssh, so that the controller does all of its work and no host any; sandbox hosts "
            "share the machine with it. Processor: of the controller, all cores; main process: its share of one core."
        ),
    ),
    Part(
        "first_deploy",
        "bench.first_deploy",
        "The first deploy",
        10,
        notes=(
            "Where the time of the last set-up with something to do went, from its own record, and of the deploy after "
            "it."
        ),
    ),
    Part(
        "manager",
        "bench.manager_rows",
        "The position manager",
        565,
        plot=("positions", "p99, ms", "echo p99, ms"),
        notes=(
            "From the bytes of a quote beyond the stop, which arrive behind the ticks of the same 10 ms, to the "
            "bytes of the order, with 1,000 ticks a second that all change a price; by turns with the commit "
            "before. The old way polled every 30 s. Parts of the time that decide nothing: the ticks in front, "
            "and the gateway's answer; the floor beside it: the disk alone (a page and its sync), and echo, the "
            "same messages through an asyncio program that only answers. Computing is the processor's time of the"
            " position manager. Artificial: the account holds its options from the start, one client has a quote "
            "for each of them (IB gives 100 unless more are paid for), and until all have one the limit of 30 "
            "questions a second is lifted; what is measured runs with it. Memory: of the service as a process of "
            "its own, with all quotes, set up the same way."
        ),
    ),
    Part(
        "soak",
        "bench.soak.run",
        "A simulated month",
        170,
        notes="Restarts, resets, logins, faults, reboots and webhook outages; every check of `bench/soak/records.py`.",
    ),
)


@dataclass
class Outcome:
    """Rows of a part, or why there are none."""

    part: Part
    rows: list[Row]
    why: str = ""
    seconds: float = 0.0
    text: str = ""


def present(part: Part) -> bool:
    """Whether its module exists in this tree."""
    try:
        return importlib.util.find_spec(part.module) is not None
    except ModuleNotFoundError:
        return False


def measure(part: Part, limit: float) -> Outcome:
    """Run a part in a process group of its own, which ends with it."""
    begun = time.monotonic()
    # Both sides start from compiled modules, as on a machine that does not forbid to store them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(  # noqa: S603 - arguments of ours
        [sys.executable, "-m", "bench", "--rows-of", part.name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env={**environment, "PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("src", "simulator/src", "."))},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end(process)
        return Outcome(part, [], f"not done within {limit:.0f} s", time.monotonic() - begun)
    except KeyboardInterrupt:
        end(process)
        raise
    passed = time.monotonic() - begun
    if process.returncode:
        return Outcome(part, [], f"failed with status {process.returncode}; the error is above", passed)
    found = json.loads(output.splitlines()[-1])
    return Outcome(part, found["rows"], "", passed, found["text"])


def end(process: subprocess.Popen[bytes]) -> None:
    """End a part and all that it has started: it removes its containers and its hosts first, if it does so in time."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def measured(part: Part) -> dict[str, object]:
    """What its module measures, as rows or as text. What a module with rows prints goes to stderr."""
    module = importlib.import_module(part.module)
    if hasattr(module, "rows"):
        with contextlib.redirect_stdout(sys.stderr):
            return {"rows": module.rows(), "text": ""}
    printed = io.StringIO()
    # Its exit status states whether targets are met, which the page shows.
    with contextlib.redirect_stdout(printed):
        module.main(list(part.arguments))
    return {"rows": [], "text": printed.getvalue().strip()}


def table(rows: Sequence[Row]) -> list[str]:
    """Rows as a table; the columns are those of the first row and what later ones add."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(shown(row.get(column, "")) for column in columns) + " |" for row in rows]


def shown(value: object) -> str:
    """A cell."""
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def plot(outcome: Outcome, directory: Path) -> Path | None:
    """A PNG of a part's columns over the first of them; None if it has none."""
    part = outcome.part
    if not part.plot or not outcome.rows:
        return None
    # It takes a second to load, and `--list` needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    over, *columns = part.plot
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for column in columns:
        points = [
            (float(str(row[over])), float(str(row[column])))
            for row in outcome.rows
            if isinstance(row.get(over), int | float) and isinstance(row.get(column), int | float)
        ]
        if points:
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=column)
    axes.set(title=part.title, xlabel=over, xscale="log", ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    directory.mkdir(exist_ok=True)
    path = directory / f"{part.name}.png"
    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]  # matplotlib's, untyped
    return path


def report(outcomes: Sequence[Outcome], plots: Mapping[str, Path], day: str) -> str:
    """The page."""
    machine = f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}, {platform.python_version()}"
    lines = [
        "# Measured",
        "",
        f"`make bench` on {day}; {machine}. What is compared was measured side by side in one run: ratios count,",
        "absolute numbers depend on the machine and on what else runs on it. No test asserts any of them.",
        "",
        "More: [the position manager](position_manager.md), [the simulator](simulator.md), each by its own command.",
    ]
    for outcome in outcomes:
        part = outcome.part
        lines += ["", f"## {part.title}", "", f"`{part.command}`, {outcome.seconds:.0f} s. {part.notes}", ""]
        if part.name in plots:
            lines += [f"![{part.title}](plots/{plots[part.name].name})", ""]
        lines += table(outcome.rows) if outcome.rows else [outcome.text or f"Not measured: {outcome.why}."]
    return "\n".join(lines) + "\n"


def stored(path: Path) -> dict[str, Outcome]:
    """The outcomes of earlier runs, by name; none if there are none."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    return {part.name: Outcome(part, **found[part.name]) for part in PARTS if part.name in found}


def store(path: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Remember outcomes, so that a part can be measured again alone."""
    data = {
        name: {"rows": outcome.rows, "why": outcome.why, "seconds": outcome.seconds, "text": outcome.text}
        for name, outcome in outcomes.items()
    }
    path.write_text(json.dumps(data, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 if something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure everything, in less than 30 minutes")
    names = [part.name for part in PARTS]
    parser.add_argument("--only", choices=names, action="append", help="measure this part alone; the others stay")
    parser.add_argument("--list", action="store_true", help="list the parts")
    parser.add_argument("--rows-of", choices=names, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rows_of:
        # An end in order, in which containers and hosts are removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
        (part,) = (each for each in PARTS if each.name == options.rows_of)
        sys.stdout.write(json.dumps(measured(part)) + "\n")
        return 0
    wanted = [part for part in PARTS if present(part) and (not options.only or part.name in options.only)]
    if options.list:
        sys.stdout.write("".join(f"{part.name:14}{part.title} (at most {part.seconds:.0f} s)\n" for part in wanted))
        return 0
    outcomes = stored(DATA)
    until = time.monotonic() + SECONDS_OF_ALL
    failed = 0
    for part in wanted:
        sys.stderr.write(f"== {part.title}\n")
        outcome = measure(part, max(1.0, min(part.seconds, until - time.monotonic())))
        outcomes[part.name] = outcome
        failed += not (outcome.rows or outcome.text)
        sys.stderr.write(f"   {outcome.why or 'measured'}, {outcome.seconds:.0f} s\n")
        store(DATA, outcomes)
    ordered = [outcomes[part.name] for part in PARTS if part.name in outcomes]
    plots = {outcome.part.name: path for outcome in ordered if (path := plot(outcome, PLOTS)) is not None}
    RESULTS.write_text(report(ordered, plots, f"{datetime.now(UTC):%Y-%m-%d}"))
    sys.stderr.write(f"{RESULTS}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
