"""The command line of the soak, and its rows for bench/RESULTS.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from bench.soak.play import Pace, soak
from bench.soak.records import Records, faults
from bench.soak.scenario import month


def describe(records: Records) -> list[str]:
    """What happened, in lines."""
    lags = [episode.lag for episode in records.episodes if episode.lag is not None]
    ready = [episode.ready for episode in records.episodes if episode.closed is not None]
    manager = [sample.mebibytes for sample in records.memory if sample.program == "manager"]
    blocks = [sample.blocks for sample in records.memory if sample.program == "manager"]
    injected = ", ".join(f"{count} {kind}" for kind, count in sorted(records.injected.items()))
    return [
        f"positions opened: {len(records.episodes)}, stops exceeded: "
        f"{sum(episode.breached is not None for episode in records.episodes)}, closed: {len(ready)}",
        f"longest from stop to order while it could act: {max(lags, default=timedelta()).total_seconds():.1f} s, "
        f"to the end: {max(ready, default=timedelta()).total_seconds():.0f} s",
        f"outages: {len(records.outages)}, of them expected: {sum(each.expected for each in records.outages)}, "
        f"with a start of the manager: {sum(each.killed for each in records.outages)}; "
        f"notifications: {len(records.messages)}",
        f"memory that the manager uses at noon, MiB: {min(manager, default=0):.1f} to {max(manager, default=0):.1f}; "
        f"blocks of its objects: {min(blocks, default=0)} to {max(blocks, default=0)}",
        f"injected: {injected}",
        f"skipped, as the gateway was away or the position not held: {dict(records.skipped)}",
    ]


def listing(records: Records) -> str:
    """Outages, notifications and episodes in the order of time."""
    lines = [
        *(
            (outage.begin, f"outage until {outage.end} {outage.expected=} {outage.killed=}")
            for outage in records.outages
        ),
        *((message.at, f"message: {message.title}") for message in records.messages),
        *((episode.opened, str(episode)) for episode in records.episodes),
        *(
            (each.at, f"memory of {each.program} {each.life}: {each.mebibytes:.1f}, {each.blocks} blocks")
            for each in records.memory
        ),
    ]
    return "".join(f"{at.isoformat()} {text}\n" for at, text in sorted(lines))


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the scenario and the market (default: 1)")
    parser.add_argument("--days", type=int, default=30, help="simulated days (default: 30)")
    parser.add_argument("--closes", type=int, default=2, help="stops on each day of trading (default: 2)")
    parser.add_argument(
        "--long",
        action="store_true",
        help="time never passes faster than the manager's own loop while the market is open",
    )
    parser.add_argument("--directory", type=Path, help="where logs and journals are left (default: nowhere)")
    options = parser.parse_args(arguments)
    pace = Pace(open=0, closed=60) if options.long else Pace()
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        events = month(options.seed, options.days, options.closes)
        records = asyncio.run(soak(directory.resolve(), events, options.seed, pace))
        passed = time.monotonic() - began
        (directory / "records.txt").write_text(listing(records))
    found = faults(records)
    lines = [*describe(records), f"{options.days} days in {passed:.0f} s", *(f"FAULT: {each}" for each in found)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found else 0


def rows() -> list[dict[str, object]]:
    """A month, for bench/RESULTS.md."""
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        records = asyncio.run(soak(Path(temporary).resolve(), month(1, 30, 1), 1, Pace()))
        passed = time.monotonic() - began
    found = faults(records)
    lines = [*describe(records), f"30 days in {passed:.0f} s", *(found or ["no fault was found"])]
    return [{"what": line} for line in lines]
