"""How long stops take from the quote to the order on the socket, one at a time and many at once, with few and with
many orders resting in the account. ``python -m bench.order_latency CASE`` measures one case with the position manager
that the import path leads to and writes its numbers as JSON; ``python -m bench.position_manager --against COMMIT``
runs all of them for two releases side by side.

The quotes of a round are held back at the manager's socket until all of them have arrived, then given to it in one
piece: the time from there to the bytes of each order is what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ib_insync import IB, LimitOrder, Stock

from bench.position_manager import (
    PATIENCE,
    PLACE_ORDER,
    SUBSCRIBED_IN_A_SECOND,
    buy_options,
    engine_at,
    gateway,
    service,
)
from bench.simulator import ROOT
from gateway_simulator import ctl
from position_manager.brokers.ib_broker import IbBroker
from position_manager.engine.engine import Engine

TRAILING: dict[str, Any] = {"trailing": {"activate_percent": 100, "distance_percent": 50}}


@dataclass(frozen=True)
class Case:
    """``held`` positions, ``resting`` orders of another client, and ``rounds`` in which ``at_once`` stops are reached
    with one piece of the stream. ``fill``: the orders of a round are executed before the next one."""

    held: int
    resting: int
    at_once: int
    rounds: int
    fill: bool = True


CASES = {
    "one stop": Case(90, 0, 1, 85),
    "one stop, 400 rest": Case(90, 400, 1, 85),
    "15 stops at once": Case(90, 0, 15, 6),
    "15 stops at once, 400 rest": Case(90, 400, 15, 6),
    "one stop of 1000, orders fill": Case(1000, 0, 1, 60),
    "one stop of 1000, 100 come to rest": Case(1000, 0, 1, 100, fill=False),
}
BESTS = "90 new bests of trailing stops at once, until on disk"
WRITES = "90 new bests of trailing stops at once, the writes alone"
MEMORY = "memory with 1000 positions, MiB"


class Gate:
    """Holds the stream of the gateway back, and notes when orders leave after it was let through."""

    def __init__(self, broker: IbBroker) -> None:
        connection = broker._session().client.conn
        self._read: Callable[[bytes], None] = connection.data_received
        self._write: Callable[[bytes], None] = connection.sendMsg
        self._held: list[bytes] | None = None
        self.begun = 0.0
        self.taken: list[float] = []
        self.expected = 0
        self.all_sent = asyncio.Event()
        vars(connection).update(data_received=self._arrives, sendMsg=self._leaves)

    def _arrives(self, data: bytes) -> None:
        if self._held is None:
            self._read(data)
        else:
            self._held.append(data)

    def _leaves(self, message: bytes) -> None:
        self._write(message)
        if message[4:].startswith(PLACE_ORDER):
            self.taken.append(time.perf_counter() - self.begun)
            if len(self.taken) >= self.expected:
                self.all_sent.set()

    def close(self, expected: int) -> None:
        self._held, self.taken, self.expected = [], [], expected
        self.all_sent.clear()

    def open(self) -> None:
        held, self._held = b"".join(self._held or []), None
        self.begun = time.perf_counter()
        self._read(held)


async def rest_orders(port: int, control: int, count: int) -> None:
    """Orders of another client that nothing will ever fill."""
    if not count:
        return
    ib = IB()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
    await ib.connectAsync("127.0.0.1", port, clientId=8, timeout=PATIENCE)
    ib.client.MaxRequests = 0
    (stock,) = await ib.qualifyContractsAsync(Stock("AAPL", "SMART", "USD"))
    trades = [ib.placeOrder(stock, LimitOrder("BUY", 1, 1.0)) for _ in range(count)]
    await asyncio.to_thread(ctl.request, control, "advance", ["2"])
    async with asyncio.timeout(PATIENCE):
        while any(trade.orderStatus.status != "Submitted" for trade in trades):
            await ib.updateEvent
    ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped


async def ready(engine: Engine, broker: IbBroker) -> None:
    while not engine.ready or broker._to_watch:  # noqa: ASYNC110 - the engine has no event for its quotes
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)
    # As the service does when it is READY.
    gc.collect()
    gc.freeze()


async def price(control: int, con_id: int, bid: str, ask: str) -> None:
    await asyncio.to_thread(ctl.request, control, "set-price", [str(con_id), f"bid={bid}", f"ask={ask}"])


async def stops(case: Case) -> list[list[float]]:
    """Seconds to each order of each round, in the order in which they left."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            con_ids = await buy_options(port, control, case.held)
            await rest_orders(port, control, case.resting)
            engine, broker = engine_at(port, Path(name), {})
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            async with asyncio.timeout(PATIENCE):
                await ready(engine, broker)
                gate = Gate(broker)
                for number in range(case.rounds):
                    due = con_ids[number * case.at_once : (number + 1) * case.at_once]
                    gate.close(len(due))
                    for con_id in due:
                        await price(control, con_id, "0.01", "0.02")
                    await asyncio.sleep(0.05)
                    gate.open()
                    await gate.all_sent.wait()
                    found.append(list(gate.taken))
                    if case.fill:
                        for con_id in due:
                            await price(control, con_id, "0.02", "0.03")
                        await asyncio.to_thread(ctl.request, control, "advance", ["1"])
                        left = set(due)
                        while left & {held for _, held in engine.shared.guard.positions}:  # noqa: ASYNC110 - as above
                            await asyncio.sleep(0.01)
                    # Not so fast that the limit of messages a second is measured.
                    await asyncio.sleep(0.3 + 0.1 * case.at_once)
            stop.set()
            await running
    return found


async def bests(rounds: int = 15) -> list[list[float]]:
    """Seconds of each write of new bests of 90 trailing stops that all move at once, and seconds from the quotes until
    the last of them is on the disk."""
    found: list[list[float]] = []
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            con_ids = await buy_options(port, control, 90)
            engine, broker = engine_at(port, Path(name), {"defaults": TRAILING})
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            guard = engine.shared.guard
            store = guard.store_moved
            writes: list[float] = []

            def stored(*values: Any, **more: Any) -> None:
                begun = time.perf_counter()
                store(*values, **more)
                writes.append(time.perf_counter() - begun)

            guard.store_moved = stored  # type: ignore[method-assign]  # to measure it
            async with asyncio.timeout(PATIENCE):
                await ready(engine, broker)
                gate = Gate(broker)
                for number in range(rounds):
                    gate.close(0)
                    for con_id in con_ids:
                        await price(control, con_id, f"{0.20 + 0.02 * number:.2f}", f"{0.21 + 0.02 * number:.2f}")
                    await asyncio.sleep(0.05)
                    writes.clear()
                    gate.open()
                    while not writes or guard.moved:  # noqa: ASYNC110 - as above
                        await asyncio.sleep(0.002)
                    found.append([sum(writes), time.perf_counter() - gate.begun])
            stop.set()
            await running
    return found


def percentile(seconds: Sequence[float], share: float) -> float:
    """In ms: the least value that is not exceeded by this share of them (nearest rank)."""
    ordered = sorted(seconds)
    return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class MeasurementError(Exception):
    """A side of a comparison cannot be measured; the message states which, and the remedy."""


def source_of(commit: str, directory: Path) -> Path:
    """The sources of a commit in a directory of their own. Raises MeasurementError."""
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, check=False, capture_output=True)  # noqa: S603, S607 - arguments of ours
    if archive.returncode:
        raise MeasurementError(f"{commit}: {archive.stderr.decode(errors='replace').strip()}")
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)  # noqa: S603, S607 - arguments of ours
    return directory / "src"


def run(source: Path, case: str) -> list[list[float]]:
    """A measurement with the position manager in ``source``; the simulator and all else are of this tree.

    Raises MeasurementError; the output of what failed is on stderr.
    """
    path = os.pathsep.join(map(str, (source, ROOT / "simulator/src", ROOT)))
    done = subprocess.run(  # noqa: S603 - arguments of ours
        [sys.executable, "-m", "bench.order_latency", case],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        if source == ROOT / "src":
            raise MeasurementError(f"{case}: this tree could not be measured; the error is above")
        raise MeasurementError(
            f"{case}: the commit could not be measured; the error is above. If a module or an argument is unknown, its "
            "folders are not those of this tree: run the bench of a tree that has the same folders."
        )
    found: list[list[float]] = json.loads(done.stdout)
    return found


def shown(case: str, before: Sequence[float], after: Sequence[float]) -> str:
    """A row: the least, the median and the 99th percentile of both."""
    sides = (" / ".join(f"{percentile(side, share):.1f}" for share in (0, 0.5, 0.99)) for side in (before, after))
    ratio = statistics.median(before) / statistics.median(after)
    return f"| {case} | {' | '.join(sides)} | {ratio:.1f} | {len(after)} |"


def compare(commit: str, repeats: int, most: int) -> str:
    """The table of a commit and this tree, measured by turns, without cases of more than ``most`` positions."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        sources = (source_of(commit, Path(name)), ROOT / "src")
        small = [case for case, size in CASES.items() if size.held <= most]
        for case in (*small, BESTS, *([MEMORY] if most >= 1000 else [])):
            found: tuple[list[list[float]], ...] = ([], [])
            for _ in range(1 if case == MEMORY else repeats):
                for side, source in zip(found, sources, strict=True):
                    side.extend(run(source, case))
            before, after = ([taken[-1] for taken in side] for side in found)
            if case == MEMORY:
                rows.append(f"| {case} | {before[0]:.0f} | {after[0]:.0f} | | |")
            else:
                rows.append(shown(case, before, after))
            if case == BESTS:
                rows.append(shown(WRITES, *([taken[0] for taken in side] for side in found)))
            sys.stderr.write(rows[-1] + "\n")
    head = ["| case | before, ms | now, ms | times faster (median) | rounds |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


async def memory_of(count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            await buy_options(port, control, count)
            _, mebibytes, _ = await service(port, Path(name), 10 + count / SUBSCRIBED_IN_A_SECOND, 1)
            return mebibytes


def main(arguments: Sequence[str]) -> None:
    (name,) = arguments
    if name == MEMORY:
        found = [[asyncio.run(memory_of(1000))]]
    elif name == BESTS:
        found = asyncio.run(bests())
    else:
        found = asyncio.run(stops(CASES[name]))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
