"""The position manager's rows of bench/RESULTS.md: ``python -m bench.manager_rows``, from the root.

Positions, of which one after the other reaches its stop, while 1,000 ticks a second of the others arrive.
Before: a commit that is named with ``--against``, by turns with this tree.

What is artificial: the account holds its options from the start (bench/held_gateway.py), one client has a quote for
each of them, and until all of them have one the position manager's own limit of 30 questions a second is lifted
(bench/lifted_pace.py). What is measured runs with that limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from bench.echo import floor, syncs
from bench.lifted_pace import lift, restore
from bench.order_latency import percentile, source_of
from bench.position_manager import PATIENCE, PLACE_ORDER, engine_at, gateway_that_holds, service
from bench.simulator import ROOT
from gateway_simulator import ctl
from position_manager.brokers.ib_broker import IbBroker

BEFORE = "5c54de5"
"""The commit before these rows existed."""
TICKS = 1000
"""A second."""
BURST = 0.01
"""Seconds whose ticks arrive together."""
OLD_POLL = 30.0
"""Seconds from one check of every position to the next, in the old way."""
SECONDS = 545.0
"""For all rows; each that is not done then states so."""
TARGET = 1000
"""Positions of the rows that have targets: they are measured first."""
BEFORE_COLUMN, NOW_COLUMN = "before: least / median / p99, ms", "now: least / median / p99, ms"
PAUSE = 0.15
"""Seconds from one order to the next quote: the limit of messages a second must not be what is measured."""
LATENCY = "0.05"
"""Seconds of the simulated clock from an order to its market."""
ALL_OPEN_ORDERS, OPEN_ORDERS_END = b"16\0", b"53\0"
HEADER = 4


@dataclass(frozen=True)
class Case:
    """So many positions; how many orders fill, each before the next one, and how many then come to rest; how often
    both sides are measured by turns."""

    positions: int
    fills: int
    rests: int
    turns: int = 1
    memory: bool = False


CASES = (
    Case(10, 4, 4),
    Case(100, 40, 50),
    Case(1000, 100, 100, turns=2, memory=True),
    Case(10_000, 20, 100, memory=True),
)


@dataclass
class Taken:
    """Seconds, for each order: from the quote to the order, and of these how long the gateway took to answer, and how
    long the position manager computed. And, apart from orders, for each 10 ms of ticks how long they took."""

    orders: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)

    def __iadd__(self, other: Taken) -> Taken:
        return Taken(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def tick(request: int, side: int, price: str) -> bytes:
    """A message of the gateway's: the bid (1) or ask (2) of a subscription."""
    payload = f"1\x006\x00{request}\x00{side}\x00{price}\x0010\x000\x00".encode()
    return struct.pack(">I", len(payload)) + payload


class Feed:
    """The stream of the gateway, with ticks of other contracts between its messages.

    Notes when the order leaves that follows from a quote, and how long the gateway took for the check before it.
    """

    def __init__(self, broker: IbBroker) -> None:
        connection = broker._session().client.conn
        self._read: Callable[[bytes], None] = connection.data_received
        self._write: Callable[[bytes], None] = connection.sendMsg
        self._rest = b""
        self._given = self._asked = self._computed = 0.0
        self._answer: float | None = None
        self.taken = Taken()
        self.sent = asyncio.Event()
        vars(connection).update(data_received=self._arrives, sendMsg=self._leaves)

    def _arrives(self, data: bytes) -> None:
        """Whole messages only: a tick must not arrive within another message."""
        data = self._rest + data
        position, size = 0, len(data)
        while size - position >= HEADER:
            after = position + HEADER + int.from_bytes(data[position : position + HEADER], "big")
            if after > size:
                break
            if self._asked and self._answer is None and data[position + HEADER : after].startswith(OPEN_ORDERS_END):
                self._answer = time.perf_counter() - self._asked
            position = after
        self._rest = data[position:]
        if position:
            self._read(data[:position])

    def _leaves(self, message: bytes) -> None:
        self._write(message)
        if not self._given:
            return
        if message[HEADER:].startswith(ALL_OPEN_ORDERS) and not self._asked:
            self._asked = time.perf_counter()
        elif message[HEADER:].startswith(PLACE_ORDER):
            self.taken.orders.append(time.perf_counter() - self._given)
            self.taken.answers.append(self._answer or 0.0)
            self.taken.computed.append(time.thread_time() - self._computed)
            self._given = 0.0
            self.sent.set()

    def give(self, data: bytes, *, measure: bool = False) -> None:
        """Have bytes arrive, and measure from them to the next order."""
        if measure:
            self.sent.clear()
            self._asked, self._answer = 0.0, None
            self._given, self._computed = time.perf_counter(), time.thread_time()
        begun = time.perf_counter()
        self._read(data)
        if not measure and data:
            self.taken.ticks.append(time.perf_counter() - begun)


class Ticks:
    """So many ticks a second, in bursts."""

    def __init__(self, requests: Sequence[int]) -> None:
        count, passes = int(TICKS * BURST), len(requests) * 2
        # Each pass over the contracts changes every price.
        prices = "0.02", "0.03"
        every = [tick(requests[each % len(requests)], 1, prices[each // len(requests)]) for each in range(passes)]
        while every and len(every) < count:
            every *= 2
        wrapped = every + every[:count]
        self._bursts = [b"".join(wrapped[first : first + count]) for first in range(0, len(every), count)]
        self._number = 0

    def burst(self) -> bytes:
        """The next of them."""
        self._number += 1
        return self._bursts[self._number % len(self._bursts)] if self._bursts else b""

    async def stream(self, feed: Feed) -> None:
        """All of them."""
        while True:
            feed.give(self.burst())
            await asyncio.sleep(BURST)


async def watched(engine: Any, broker: IbBroker, size: int) -> None:
    """Wait until each position has a quote, and do as the service does when it is READY."""
    while not engine.ready or broker._to_watch or len(guard_of(engine).quotes) < size:  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    gc.collect()
    gc.freeze()


def guard_of(engine: Any) -> Any:
    """What an engine guards with; commits differ in where it is."""
    return (engine.desk if hasattr(engine, "desk") else engine.shared).guard


async def closes(case: Case, seed: int) -> tuple[Taken, Taken]:
    """For orders that fill and for orders that come to rest."""
    rng, rounds = random.Random(seed), case.fills + case.rests  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory(dir=disk()) as name:
        async with gateway_that_holds(case.positions) as (port, control, con_ids):
            rng.shuffle(con_ids)
            lift()
            engine, broker = engine_at(port, Path(name), {})
            stop = asyncio.Event()
            running = asyncio.create_task(engine.run(stop))
            async with asyncio.timeout(PATIENCE):
                await watched(engine, broker, case.positions)
                restore()
                await asyncio.sleep(1)
                feed, request_of = Feed(broker), requests(broker)
                ticks = Ticks([request_of[con_id] for con_id in con_ids[rounds:]])
                beside = asyncio.create_task(ticks.stream(feed))
                filled = Taken()
                for number, con_id in enumerate(con_ids[:rounds]):
                    if number == case.fills:
                        filled, feed.taken = feed.taken, Taken()
                    await asyncio.sleep(PAUSE + rng.uniform(0, BURST))
                    request = request_of[con_id]
                    # Behind the ticks of its moment.
                    feed.give(ticks.burst() + tick(request, 1, "0.01") + tick(request, 2, "0.02"), measure=True)
                    await feed.sent.wait()
                    if number < case.fills:
                        await asyncio.to_thread(ctl.request, control, "advance", [LATENCY])
                        while any(con_id == held for _, held in guard_of(engine).positions):  # noqa: ASYNC110 - as above
                            await asyncio.sleep(0.01)
                beside.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await beside
            stop.set()
            await running
    return filled, feed.taken


def requests(broker: IbBroker) -> Mapping[int, int]:
    """The number of the subscription of each contract."""
    tickers = broker._session().wrapper.reqId2Ticker.items()
    return {ticker.contract.conId: request for request, ticker in tickers if ticker.contract is not None}


def disk() -> str | None:
    """Where journals are written: /var/tmp is on a disk where /tmp may not be."""
    return "/var/tmp" if os.access("/var/tmp", os.W_OK) else None  # noqa: S108 - directories of their own within it


async def memory(size: int) -> float:
    """MiB of the service, as a process of its own, when it has had all quotes."""
    with tempfile.TemporaryDirectory(dir=disk()) as name:
        async with gateway_that_holds(size) as (port, _, _):
            os.environ["BENCH_LIFTED_PACE"] = "1"
            _, mebibytes, _ = await service(port, Path(name), 5 + size / 500, 1)
            return mebibytes


class OutOfTimeError(Exception):
    """A measurement was ended: what it would show is not known."""


def measured(until: float, source: Path, *words: object) -> Any:
    """A measurement by a process with the position manager in ``source``. Raises OutOfTimeError if it is not done at a
    moment of the monotonic clock."""
    path = os.pathsep.join(map(str, (source, ROOT / "simulator/src", ROOT)))
    process = subprocess.Popen(  # noqa: S603 - arguments of ours
        [sys.executable, "-m", "bench.manager_rows", "--case", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
    )
    try:
        output, _ = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        # It ends its simulator.
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise OutOfTimeError from error
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(output.splitlines()[-1])


def rows(against: str = BEFORE, cases: Iterable[Case] = CASES, seconds: float = SECONDS) -> list[dict[str, object]]:
    """For each number of positions; of what is not done in so many seconds, that it is not."""
    until = time.monotonic() + seconds
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        sources = (source_of(against, Path(name)), ROOT / "src")
        for case in sorted(cases, key=lambda case: case.positions != TARGET):
            try:
                found += of_orders(case, sources, until)
                if case.memory:
                    found.append(of_memory(case, sources, until))
            except OutOfTimeError:
                found.append(
                    {"positions": case.positions, "orders": f"not done in the {seconds:.0f} s for all of them"}
                )
    return sorted(found, key=lambda row: int(str(row["positions"])))


def of_orders(case: Case, sources: Sequence[Path], until: float) -> list[dict[str, object]]:
    """A row for orders that fill, and one for orders that come to rest. Raises OutOfTimeError."""
    floors, disks = asyncio.run(floor(disk())), syncs(disk())
    sides = [{"fill": Taken(), "come to rest": Taken()} for _ in sources]
    for seed in range(case.turns):
        for side, source in zip(sides, sources, strict=True):
            for orders, taken in zip(side, measured(until, source, case.positions, "closes", seed), strict=True):
                side[orders] += Taken(**taken)
    before, now = sides
    return [
        {
            "positions": case.positions,
            "orders": f"{len(new.orders)} {orders}",
            BEFORE_COLUMN: _three(before[orders].orders),
            NOW_COLUMN: _three(new.orders),
            "p99, ms": percentile(new.orders, 0.99),
            "median, before / now": percentile(before[orders].orders, 0.5) / percentile(new.orders, 0.5),
            "p99, before / now": percentile(before[orders].orders, 0.99) / percentile(new.orders, 0.99),
            "of it computing, before: median / p99, ms": _three(before[orders].computed, (0.5, 0.99)),
            "of it computing, now: median / p99, ms": _three(new.computed, (0.5, 0.99)),
            "of it the ticks in front: median / p99, ms": _three(new.ticks, (0.5, 0.99)),
            "of it the gateway's answer: median / p99, ms": _three(new.answers, (0.5, 0.99)),
            "echo: least / median / p99, ms": _three(floors),
            "echo p99, ms": percentile(floors, 0.99),
            "disk alone: median / p99, ms": _three(disks, (0.5, 0.99)),
            "old poll, mean ms": 1000 * OLD_POLL / 2,
        }
        for orders, new in now.items()
    ]


def of_memory(case: Case, sources: Sequence[Path], until: float) -> dict[str, object]:
    """The row of the service's memory. Raises OutOfTimeError."""
    before, now = (f"{measured(until, source, case.positions, 'memory', 0):.1f} MiB" for source in sources)
    return {
        "positions": case.positions,
        "orders": "memory of the service",
        BEFORE_COLUMN: before,
        NOW_COLUMN: now,
    }


def _three(taken: Sequence[float], shares: Sequence[float] = (0, 0.5, 0.99)) -> str:
    return " / ".join(f"{percentile(taken, share):.1f}" for share in shares)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    sizes = [case.positions for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m bench.manager_rows", description=__doc__)
    parser.add_argument("--against", default=BEFORE, metavar="COMMIT", help="the other side (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", choices=sizes, default=sizes, help="numbers of positions")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        size, what, seed = options.case
        (case,) = (case for case in CASES if case.positions == int(size))
        found: object
        if what == "memory":
            found = asyncio.run(memory(case.positions))
        else:
            found = [asdict(taken) for taken in asyncio.run(closes(case, int(seed)))]
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    for row in rows(options.against, [case for case in CASES if case.positions in options.sizes]):
        sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
