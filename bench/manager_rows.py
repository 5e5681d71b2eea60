"""The position manager's rows of bench/RESULTS.md: ``python -m bench.manager_rows``, from the root.

Positions, of which one after the other reaches its stop, while 1,000 ticks a second of the others arrive.
Before: a commit that is named with ``--against``, by turns with this tree.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.echo import floor
from bench.order_latency import Gate, memory_of, percentile, price, ready, source_of
from bench.position_manager import PATIENCE, buy_options, engine_at, gateway
from bench.simulator import ROOT
from gateway_simulator import ctl

BEFORE = "5c54de5"
"""The commit before these rows existed."""
TICKS = 1000
"""A second."""
BURST = 0.01
OLD_POLL = 30.0
"""Seconds from one check of every position to the next, in the old way."""
SIZES = (10, 100, 1000)
ROUNDS = {10: 10, 100: 60, 1000: 60}


def positions_of(engine: Any) -> Any:
    """What an engine guards; commits differ in where it is."""
    return (engine.desk if hasattr(engine, "desk") else engine.shared).guard.positions


def tick(request: int, price: float) -> bytes:
    """A message of the gateway's: the bid of a subscription."""
    payload = f"1\x006\x00{request}\x001\x00{price:.2f}\x0010\x000\x00".encode()
    return struct.pack(">I", len(payload)) + payload


async def stream(gate: Gate, requests: Sequence[int]) -> None:
    """So many ticks a second, given to the manager's connection as they would arrive."""
    number = 0
    while True:
        burst = b"".join(
            tick(requests[(number + each) % len(requests)], 0.02 + 0.01 * (number % 2))
            for each in range(int(TICKS * BURST))
        )
        number += int(TICKS * BURST)
        if gate._held is None:
            gate._read(burst)
        await asyncio.sleep(BURST)


async def closes(size: int, rounds: int, *, fill: bool) -> list[float]:
    """Seconds from quote to order."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            con_ids = await buy_options(port, control, size)
            engine, broker = engine_at(port, Path(name), {})
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            async with asyncio.timeout(PATIENCE):
                await ready(engine, broker)
                gate = Gate(broker)
                others = set(con_ids[rounds:]) or set(con_ids)
                requests = [
                    request
                    for request, ticker in broker._session().wrapper.reqId2Ticker.items()
                    if ticker.contract is not None and ticker.contract.conId in others
                ]
                beside = asyncio.create_task(stream(gate, requests)) if size > rounds else None
                for con_id in con_ids[:rounds]:
                    gate.close(1)
                    await price(control, con_id, "0.01", "0.02")
                    await asyncio.sleep(0.05)
                    gate.open()
                    await gate.all_sent.wait()
                    taken.append(gate.taken[-1])
                    if fill:
                        await price(control, con_id, "0.02", "0.03")
                        await asyncio.to_thread(ctl.request, control, "advance", ["1"])
                        while any(con_id == held for _, held in positions_of(engine)):  # noqa: ASYNC110 - no event for it
                            await asyncio.sleep(0.01)
                    await asyncio.sleep(0.3)
                if beside is not None:
                    beside.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await beside
            stop.set()
            await running
    return taken


def measured(source: Path, *words: str) -> list[float]:
    """A measurement by a process with the position manager in ``source``."""
    path = os.pathsep.join(map(str, (source, ROOT / "simulator/src", ROOT)))
    done = subprocess.run(  # noqa: S603 - arguments of ours
        [sys.executable, "-m", "bench.manager_rows", "--case", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(against: str = BEFORE, sizes: Sequence[int] = SIZES) -> list[dict[str, object]]:
    """For each number of positions, and for orders that rest."""
    least, middle, most = 0.0, 0.5, 0.99
    floors = asyncio.run(floor())
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        sources = (source_of(against, Path(name)), ROOT / "src")
        for size, orders in [*((size, "fill") for size in sizes), (max(sizes), "rest")]:
            before, now = (measured(source, str(size), orders) for source in sources)
            found.append(
                {
                    "positions": size,
                    "orders": orders if orders == "fill" else f"{len(now)} come to rest",
                    "before: least / median / p99, ms": _three(before),
                    "least, ms": percentile(now, least),
                    "median, ms": percentile(now, middle),
                    "p99, ms": percentile(now, most),
                    "p99 before / now": percentile(before, most) / percentile(now, most),
                    "echo median, ms": percentile(floors, middle),
                    "echo p99, ms": percentile(floors, most),
                    "old poll, mean ms": 1000 * OLD_POLL / 2,
                }
            )
        if max(sizes) >= 1000:
            memories = [measured(source, "1000", "memory")[0] for source in sources]
            found.append(
                {
                    "positions": 1000,
                    "orders": f"RSS of the service: before {memories[0]:.1f}, now {memories[1]:.1f} MiB",
                }
            )
    return found


def _three(taken: Sequence[float]) -> str:
    return " / ".join(f"{percentile(taken, share):.1f}" for share in (0, 0.5, 0.99))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.manager_rows", description=__doc__)
    parser.add_argument("--against", default=BEFORE, metavar="COMMIT", help="the other side (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of positions")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        size, orders = int(options.case[0]), options.case[1]
        if orders == "memory":
            found = [asyncio.run(memory_of(size))]
        else:
            rounds = ROUNDS.get(size, 60) if orders == "fill" else min(size, 100)
            found = asyncio.run(closes(size, rounds, fill=orders == "fill"))
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for row in rows(options.against, options.sizes):
        sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
