"""The captured lines: what a controller printed in each flow, checked in and replayed by the tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.controller import TIME, Controller, Line
from conformance.play import Recording

__all__ = ["FOLDER", "Captured", "essential", "read", "read_all", "write"]

FOLDER = Path(__file__).parent / "captured"
GAP = 1.5
"""Silence of at least so many seconds is written between the lines; less is chance."""

_GAP_LINE = re.compile(r"^# (\d+) s$")
_HEAD = re.compile(r"^# ([a-z0-9_]+): (.*)$")
_EXIT = re.compile(r"^# exit code: (\d+)$")
_GOES_ON = "# ends by itself: no"
# Lines that a race decides: which window gets the focus and when; the click on the button of a dialog that ends the
# gateway; which of two settings is first when the configuration fails.
_RACE = re.compile(
    r"; event=(?:Activated|Deactivated|Focused|Lost focus)$|Click button: OK$"
    r"|IBC: Setting (?:ReadOnlyApi|Auto restart time)$"
)


@dataclass(frozen=True)
class Captured:
    """The lines of one flow with their times in seconds (whole, from 0), and the start script's exit code.

    TIME replaces a date with a time in the lines. `exit_code` is None if the controller would have gone on.
    """

    flow: str
    about: str
    version: str
    lines: tuple[Line, ...]
    exit_code: int | None


def of_recording(recording: Recording, controller: Controller) -> Captured:
    """A recording with its machine, its times of day and the fractions of its seconds left out."""
    lines: list[Line] = []
    before, now = 0.0, 0
    for line in controller.mask(_without_machine(recording)):
        gap = line.at - before
        now += round(gap) if gap >= GAP else 0
        before = line.at
        lines.append(Line(float(now), line.text.rstrip()))
    flow = recording.flow
    return Captured(flow.name, flow.about, controller.version, tuple(lines), recording.exit_code)


def _without_machine(recording: Recording) -> Iterator[Line]:
    for line in recording.lines:
        text = line.text
        for found, replacement in recording.launch.masks:
            text = text.replace(found, replacement)
        yield Line(line.at, text)


def essential(lines: Iterable[Line]) -> list[str]:
    """The texts that every run of a flow has: without what a race decides, with numbers as N."""
    return [re.sub(r"\d+", "N", line.text) for line in lines if line.text and not _RACE.search(line.text)]


def path(controller: str, flow: str) -> Path:
    return FOLDER / controller / f"{flow}.log"


def write(controller: Controller, captured: Captured) -> bool:
    """Write the flow's file; return whether it has changed. One that differs by races alone is left as it is."""
    file = path(controller.name, captured.flow)
    if file.exists():
        before = read(controller.name, captured.flow)
        heads_equal = (before.about, before.version, before.exit_code) == (
            captured.about,
            captured.version,
            captured.exit_code,
        )
        if heads_equal and sorted(essential(before.lines)) == sorted(essential(captured.lines)):
            return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_render(captured), encoding="utf-8")
    return True


def _render(captured: Captured) -> str:
    exit_line = _GOES_ON if captured.exit_code is None else f"# exit code: {captured.exit_code}"
    rows = [f"# {captured.flow}: {captured.about}", f"# {captured.version}"]
    now = 0.0
    for line in captured.lines:
        if line.at > now:
            rows.append(f"# {line.at - now:.0f} s")
            now = line.at
        rows.append(line.text)
    return "\n".join([*rows, exit_line, ""])


def read(controller: str, flow: str) -> Captured:
    """The captured lines of a flow. Raises FileNotFoundError, or ValueError if the file has another form."""
    file = path(controller, flow)
    first, second, *rows = file.read_text(encoding="utf-8").splitlines()
    head = _HEAD.match(first)
    last = rows.pop()
    code = _EXIT.match(last)
    if head is None or (code is None and last != _GOES_ON):
        raise ValueError(f"{file}: not the form of captured lines; capture the flow again")
    lines: list[Line] = []
    now = 0.0
    for row in rows:
        if gap := _GAP_LINE.match(row):
            now += int(gap[1])
        else:
            lines.append(Line(now, row))
    return Captured(head[1], head[2], second.removeprefix("# "), tuple(lines), int(code[1]) if code else None)


def read_all(controller: str) -> list[Captured]:
    """All captured flows of a controller, by name."""
    return [read(controller, file.stem) for file in sorted((FOLDER / controller).glob("*.log"))]


def with_times(text: str, stamp: str) -> str:
    """The line with a time in the place of TIME."""
    return text.replace(TIME, stamp)
