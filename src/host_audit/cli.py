"""`host-audit`: check this host and report. Exit status: 0 if every must is fulfilled, 1 if not."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from host_audit import report
from host_audit.host import Host, UnreadableError
from host_audit.point import LIVE, Point, must
from host_audit.points import access, backup, container, files, gateway, manager, network, units, upkeep

COMPLETE = must("complete", "Completeness", "every point can be checked", "Run the audit again.", LIVE)

Subject: TypeAlias = Callable[[Host], Iterator[Point]]
SUBJECTS: tuple[Subject, ...] = (
    network.check,
    access.check,
    files.check,
    container.check,
    units.check,
    upkeep.check,
    gateway.check,
    manager.check,
    backup.check,
)


def audit(host: Host, tag: str = "") -> tuple[Point, ...]:
    """Every point in order, only those with the tag if one is given."""
    points = (point for subject in SUBJECTS for point in _complete(subject, host))
    return tuple(point for point in points if not tag or tag in point.tags)


def _complete(subject: Subject, host: Host) -> Iterator[Point]:
    """The subject's points; one that could not be read to its end, such as a container that has just been removed,
    costs its further points and not the audit."""
    try:
        yield from subject(host)
    except UnreadableError as error:
        yield COMPLETE.unknown(str(error), subject.__module__.rpartition(".")[2])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="host-audit", description=(__doc__ or "").strip())
    parser.add_argument("--live-readiness", action="store_true", help="only what the first live order needs")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="also write a JUnit file")
    parser.add_argument(
        "--more", action="store_true", help="read further points (a JSON list) from standard input, checked elsewhere"
    )
    options = parser.parse_args(arguments)
    tag = LIVE if options.live_readiness else ""
    try:
        more = [Point.parse(document) for document in json.load(sys.stdin)] if options.more else []
    except ValueError as error:
        parser.error(f"the points on standard input: {error}")
    points = (*(point for point in more if not tag or tag in point.tags), *audit(Host(), tag))
    if options.junit is not None:
        options.junit.write_text(report.as_junit(points, platform.node()), encoding="utf-8")
    sys.stdout.write((report.as_json(points, platform.node()) if options.json else report.table(points)) + "\n")
    return 1 if any(point.is_failed_must for point in points) else 0


if __name__ == "__main__":
    sys.exit(main())
