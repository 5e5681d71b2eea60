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
ROUNDS = {10: (5, 5), 100: (50, 50), 1000: (60, 100)}
"""Of so many positions, how many orders fill, each before the next one, and how many then come to rest."""


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


async def closes(size: int, fills: int, rests: int) -> tuple[list[float], list[float]]:
    """Seconds from quote to order, for orders that fill and for orders that come to rest."""
    taken: list[float] = []
    rounds = fills + rests
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            con_ids = await buy_options(port, control, size)
            engine, broker = engine_at(port, Path(name), {})
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            async with asyncio.timeout(PATIENCE):
                await ready(engine, broker)
                gate = Gate(broker)
                others = set(con_ids[rounds:])
                requests = [
                    request
                    for request, ticker in broker._session().wrapper.reqId2Ticker.items()
                    if ticker.contract is not None and ticker.contract.conId in others
                ]
                beside = asyncio.create_task(stream(gate, requests)) if requests else None
                for number, con_id in enumerate(con_ids[:rounds]):
                    gate.close(1)
                    await price(control, con_id, "0.01", "0.02")
                    await asyncio.sleep(0.05)
                    gate.open()
                    await gate.all_sent.wait()
                    taken.append(gate.taken[-1])
                    if number < fills:
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
    return taken[:fills], taken[fills:]


def measured(source: Path, *words: str) -> list[list[float]]:
    """A measurement by a process with the position manager in ``source``."""
    path = os.pathsep.join(map(str, (source, ROOT / "simulator/src", ROOT)))
    done = subprocess.run(  # noqa: S603 - arguments of ours
        [sys.executable, "-m", "bench.manager_rows", "--case", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
    )
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(against: str = BEFORE, sizes: Sequence[int] = SIZES) -> list[dict[str, object]]:
    """For each number of positions."""
    floors = asyncio.run(floor())
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        sources = (source_of(against, Path(name)), ROOT / "src")
        for size in sizes:
            before, now = (measured(source, str(size), "closes") for source in sources)
            for orders, old, new in zip(("fill", "come to rest"), before, now, strict=True):
                found.append(
                    {
                        "positions": size,
                        "orders": f"{len(new)} {orders}",
                        "before: least / median / p99, ms": _three(old),
                        "now: least / median / p99, ms": _three(new),
                        "p99, ms": percentile(new, 0.99),
                        "median, before / now": percentile(old, 0.5) / percentile(new, 0.5),
                        "echo: least / median / p99, ms": _three(floors),
                        "echo p99, ms": percentile(floors, 0.99),
                        "old poll, mean ms": 1000 * OLD_POLL / 2,
                    }
                )
        if max(sizes) >= 1000:
            memories = [f"{measured(source, '1000', 'memory')[0][0]:.1f} MiB" for source in sources]
            columns = ("before: least / median / p99, ms", "now: least / median / p99, ms")
            of_memory: dict[str, object] = dict(zip(columns, memories, strict=True))
            found.append({"positions": 1000, "orders": "memory of the service", **of_memory})
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
            found: Sequence[list[float]] = [[asyncio.run(memory_of(size))]]
        else:
            found = asyncio.run(closes(size, *ROUNDS.get(size, (size // 2, size // 2))))
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for row in rows(options.against, options.sizes):
        sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
