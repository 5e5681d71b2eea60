"""How fast the position manager acts, and what it costs: ``python -m bench.position_manager``, from the root.

The real engine and its real connection to a gateway simulator in another process, few positions and many side by side.
From the bytes of a quote beyond the stop to the bytes of the order: rules, the check of the broker's books, the gates,
the journal on the disk, ib_insync. Then the service as a process of its own. The table goes to
bench/position_manager.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ib_insync import IB, MarketOrder, Option, Stock

import position_manager
from bench.moved_clock import MovedClock
from bench.simulator import ROOT, describe, free_port, memory, processor
from gateway_simulator import ctl
from position_manager.brokers.ib_broker import IbBroker
from position_manager.config.schema import Config
from position_manager.engine.engine import Engine
from position_manager.halt import HaltRecord, Halts, KillSwitch
from position_manager.journal.journal import Journal
from position_manager.journal.records import Stamp
from position_manager.sessions.hours import BrokerCalendar
from position_manager.ulid import ulid

SOURCE = Path(position_manager.__file__).parents[1]
"""What is measured: the position manager that the import path leads to."""
MOMENT = datetime(2026, 11, 18, 15, 30, tzinfo=UTC)
"""The hour of the market in which all is measured, whenever that is done: a Wednesday, 10:30 in New York."""
HELD_FOR = timedelta(days=7)
"""So long before that the positions were bought, as most are."""
PATIENCE = 900.0
"""Seconds after which something that does not come is an error."""
SIZES = (10, 90, 1000)
MOST_MOVING = 100
"""Quotes that the simulator can move several times a second."""
SUBSCRIBED_IN_A_SECOND = 25
"""Quotes, at least: the position manager keeps below 30 questions a second."""
MOST_LINES = 20_000
"""Quotes that the simulator gives one client; IB gives 100, unless more are paid for."""
PLACE_ORDER = b"3\0"
SETTINGS: dict[str, Any] = {
    "mode": "paper",
    "quotes": {"confirmations": 1},
    "defaults": {"stop": {"price": 0.01}},
    # One order for each close: a ladder would send more and more of them.
    "orders": {"max_spread_percent": 90, "step_seconds": 3600},
    "caps": {"orders_per_minute": 10_000, "orders_per_day": 100_000, "notional": 100_000_000},
}


@dataclass(frozen=True)
class Cost:
    """With so many positions: seconds from quote to order, one for each close, while the orders rest and while they
    fill; seconds from the first start to READY, and from the next one; MiB and the share of a core of the service while
    nothing moves, and its share while all quotes do (None where the simulator cannot keep up)."""

    positions: int
    resting: tuple[float, ...]
    filling: tuple[float, ...]
    to_ready: float
    to_ready_again: float
    memory: float
    idle: float
    moving: float | None


@asynccontextmanager
async def gateway(*, moving: bool = False) -> AsyncIterator[tuple[int, int]]:
    """A ready simulator without a limit of messages or quotes: its port, and that of its control interface.

    Unless its market is ``moving``, its clock is held at the hour at which positions are bought, and only prices that
    are set change: the benchmark measures the position manager, not how fast the simulator prices a thousand options.
    """
    clock = ("real", MOMENT) if moving else ("held", MOMENT - HELD_FOR)
    async with _simulator("gateway_simulator.main", *clock) as (port, control, _):
        yield port, control


@asynccontextmanager
async def gateway_that_holds(count: int) -> AsyncIterator[tuple[int, int, list[int]]]:
    """The same, at MOMENT, with an account that holds one of each of so many options; and their contract ids."""
    async with _simulator("bench.held_gateway", "held", MOMENT, str(count)) as (port, control, output):
        (held,) = (line.removeprefix(b"held: ") for line in output if line.startswith(b"held: "))
        yield port, control, [int(each) for each in held.split(b",")]


@asynccontextmanager
async def _simulator(
    module: str, clock: str, start: datetime, *arguments: str
) -> AsyncIterator[tuple[int, int, list[bytes]]]:
    """Its port, that of its control interface, and its output until it was ready."""
    port, control = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments, "--port", str(port), "--control-port", str(control)),
        *("--no-display", "--messages-per-second", "0", "--market-data-lines", str(MOST_LINES)),
        *("--clock", clock, "--clock-start", start.isoformat()),
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'simulator/src'}:{ROOT}"},
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    if process.stdout is None:
        raise RuntimeError("the simulator has no output")
    try:
        output = []
        async with asyncio.timeout(PATIENCE):
            while b"Configuration tasks completed" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError("the simulator ended before it was ready")
                output.append(line)
        yield port, control, output
    finally:
        process.kill()
        await process.communicate()


async def buy_options(port: int, control: int, count: int, *, moving: bool = False) -> list[int]:
    """Buy one of each of so many options manually, for a few cents; return their contract ids. In a market that does
    not move, the clock is MOMENT afterwards."""
    ib = IB()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
    await ib.connectAsync("127.0.0.1", port, clientId=7, timeout=PATIENCE)
    # ib_insync would keep below 45 messages a second.
    ib.client.MaxRequests = 0
    wanted = []
    for symbol in ("SPY", "AAPL", "MSFT", "TSLA"):
        (stock,) = await ib.qualifyContractsAsync(Stock(symbol, "SMART", "USD"))
        for chain in await ib.reqSecDefOptParamsAsync(symbol, "", "STK", stock.conId):
            middle = len(chain.strikes) // 2
            strikes = sorted(chain.strikes)[max(0, middle - 20) : middle + 20]
            wanted += [
                Option(symbol, expiry, strike, right, "SMART")
                for expiry in sorted(chain.expirations)
                if expiry > f"{MOMENT + timedelta(days=2):%Y%m%d}"
                for strike in strikes
                for right in "PC"
            ]
    options = await ib.qualifyContractsAsync(*wanted[:count])
    if len(options) < count:
        raise RuntimeError(f"only {len(options)} options were found")
    for option in options:
        await asyncio.to_thread(ctl.request, control, "set-price", [str(option.conId), "bid=0.02", "ask=0.03"])
    trades = [ib.placeOrder(option, MarketOrder("BUY", 1)) for option in options]
    async with asyncio.timeout(PATIENCE):
        while any(trade.orderStatus.status == "PendingSubmit" for trade in trades):
            await ib.updateEvent
        if not moving:
            await asyncio.to_thread(ctl.request, control, "advance", ["5"])
        while any(trade.orderStatus.status != "Filled" for trade in trades):
            await ib.updateEvent
    ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
    if not moving:
        # No recipient, so the value of each holding is not reported every three minutes.
        await asyncio.to_thread(ctl.request, control, "advance", [str(HELD_FOR.total_seconds() - 5)])
    return [option.conId for option in options]


class Stopwatch:
    """When the last bytes came, and when an order left after them."""

    def __init__(self) -> None:
        self.arrived = 0.0
        self.taken: list[float] = []
        self.sent = asyncio.Event()

    def attach(self, broker: IbBroker) -> None:
        connection = broker._session().client.conn
        write, read = connection.sendMsg, connection.data_received

        def arrives(data: bytes) -> None:
            # Before anything is decoded.
            self.arrived = time.perf_counter()
            read(data)  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped

        def leaves(message: bytes) -> None:
            write(message)  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
            if message[4:].startswith(PLACE_ORDER):
                self.taken.append(time.perf_counter() - self.triggered)
                self.sent.set()

        vars(connection).update(data_received=arrives, sendMsg=leaves)

    triggered = 0.0


def engine_at(port: int, directory: Path, settings: dict[str, Any]) -> tuple[Engine, IbBroker]:
    """An engine with its journal in a directory, and its broker."""
    config = Config.model_validate({**SETTINGS, **settings, "gateway": {"port": port}})
    clock = MovedClock(MOMENT - datetime.now(UTC))
    broker = IbBroker(config, clock, answer_within=PATIENCE)
    engine = Engine(
        config,
        broker,
        open_journal=lambda accounts: Journal(
            directory / "journal.db",
            Stamp("paper", accounts),
            clock=clock.now,
            new_id=lambda: ulid(clock.now(), os.urandom),
        ),
        deliver=lambda _message: None,
        clock=clock,
        calendar=BrokerCalendar(),
        halts=Halts(KillSwitch(directory / "HALT"), HaltRecord(directory / "halt.json")),
        jitter=lambda: 1.0,
    )
    return engine, broker


async def closes(port: int, control: int, con_ids: list[int], directory: Path, *, fill: bool) -> tuple[float, ...]:
    """Move positions past their stop, one after the other; the orders rest, or the bid comes up to them."""
    engine, broker = engine_at(port, directory, {})
    watch = Stopwatch()
    decide = engine.closer.decide

    def decided(*values: Any, **more: Any) -> None:
        # The bytes that came last hold the quote that fired.
        watch.triggered = watch.arrived
        decide(*values, **more)

    engine.closer.decide = decided  # type: ignore[method-assign]  # to know which bytes it was
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    async with asyncio.timeout(PATIENCE):
        while not engine.ready or broker._to_watch:  # noqa: ASYNC110 - the engine has no event for its quotes
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)
        # As the service does when it is READY.
        gc.collect()
        gc.freeze()
        watch.attach(broker)
        for con_id in con_ids:
            watch.sent.clear()
            await asyncio.to_thread(ctl.request, control, "set-price", [str(con_id), "bid=0.01", "ask=0.02"])
            await watch.sent.wait()
            if fill:
                await asyncio.to_thread(ctl.request, control, "set-price", [str(con_id), "bid=0.02", "ask=0.03"])
                await asyncio.to_thread(ctl.request, control, "advance", ["1"])
                while any(con_id == held for _, held in engine.shared.guard.positions):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
            # Not so fast that IB's limit of messages a second is measured.
            await asyncio.sleep(0.3)
    stop.set()
    await running
    gc.unfreeze()
    return tuple(watch.taken)


async def service(port: int, directory: Path, settle: float, seconds: float) -> tuple[float, float, float]:
    """The service as a process: seconds to READY, MiB, and its share of a core while nothing is closed. What it keeps
    in the directory is there for the next start."""
    config = directory / "pm.yml"
    config.write_text(f"mode: paper\ngateway: {{port: {port}}}\ndefaults: {{stop: {{percent_of_premium: 100}}}}\n")
    for name in ("state", "run"):
        (directory / name).mkdir(exist_ok=True)
    begun, moved = time.perf_counter(), (MOMENT - datetime.now(UTC)).total_seconds()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.moved_clock", str(moved), "run", "--config", str(config)),
        *("--state", str(directory / "state"), "--runtime", str(directory / "run")),
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{ROOT}"},
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdout is None:
        raise RuntimeError("the service has no output")
    try:
        async with asyncio.timeout(PATIENCE):
            while b"position manager running" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError("the service ended before it was ready")
        ready = time.perf_counter() - begun
        await asyncio.sleep(settle)
        used = processor(process.pid)
        await asyncio.sleep(seconds)
        return ready, memory(process.pid), (processor(process.pid) - used) / seconds
    finally:
        process.terminate()
        await process.communicate()


async def closes_of(size: int, count: int, *, fill: bool) -> tuple[float, ...]:
    with tempfile.TemporaryDirectory() as name:
        async with gateway() as (port, control):
            con_ids = await buy_options(port, control, size)
            return await closes(port, control, con_ids[:count], Path(name), fill=fill)


async def service_of(size: int, seconds: float, *, moving: bool) -> tuple[float, float, float, float]:
    """Seconds to the first READY and to the next one, MiB, share of a core."""
    with tempfile.TemporaryDirectory() as name:
        async with gateway(moving=moving) as (port, control):
            await buy_options(port, control, size, moving=moving)
            ready, *_ = await service(port, Path(name), 0, 1)
            return ready, *await service(port, Path(name), seconds + size / SUBSCRIBED_IN_A_SECOND, seconds)


async def measure(sizes: tuple[int, ...], count: int, seconds: float) -> list[Cost]:
    found = []
    for size in sizes:
        ready, again, mebibytes, idle = await service_of(size, seconds, moving=False)
        moving = (await service_of(size, seconds, moving=True))[3] if size <= MOST_MOVING else None
        resting = await closes_of(size, count, fill=False)
        filling = await closes_of(size, count, fill=True)
        found.append(Cost(size, resting, filling, ready, again, mebibytes, idle, moving))
    return found


def report(costs: list[Cost], seconds: float, day: str) -> str:
    rows = [
        f"| {cost.positions} | {describe(cost.filling)} ({len(cost.filling)})"
        f" | {describe(cost.resting)} ({len(cost.resting)}) | {cost.to_ready:.1f} | {cost.to_ready_again:.1f}"
        f" | {cost.memory:.0f} | {cost.idle:.1%} | {'-' if cost.moving is None else f'{cost.moving:.1%}'} |"
        for cost in costs
    ]
    machine = f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        [
            "# The position manager, measured",
            "",
            f"`python -m bench.position_manager` on {day}; {machine}; the simulated gateway on the same machine.",
            "",
            "Quote to order: median / 99th percentile in ms (and how many), from the arrival of the bytes of a quote",
            "beyond the stop to the bytes of the order on the socket, the journal on the disk in between. All",
            "positions have live quotes. Orders fill: each before the next quote. Orders rest: none of them fills, and",
            "the last is sent while all before it are followed; the check just before sending processes each of them.",
            "READY: after the first start, when nothing is known of the contracts, and after a restart.",
            f"Memory and shares of a core: of the service, over {seconds:g} s, when it has had all quotes for as long;",
            "idle while no quote changes, moving while all change several times a second.",
            "",
            "| positions | quote to order, orders fill | orders rest | first READY, s | READY again, s | memory, MiB"
            " | idle | moving |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


SIDE_BY_SIDE = "## Before and after"
PAGE = ROOT / "bench/position_manager.md"


def side_by_side(commit: str, repeats: int, most: int) -> str:
    """The part of the page that compares this tree with a commit. Raises SystemExit if one cannot be measured."""
    # It needs what is defined above.
    from bench import order_latency

    try:
        table = order_latency.compare(commit, repeats, most)
    except order_latency.MeasurementError as error:
        raise SystemExit(f"bench.position_manager: {error}") from error
    machine = f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        [
            SIDE_BY_SIDE,
            "",
            f"`python -m bench.position_manager --against {commit} --repeats {repeats} --most {most}` on"
            f" {datetime.now(UTC):%Y-%m-%d}; {machine}, shared with other work: the ratios count. Both run by turns"
            " against the same simulated gateway.",
            "",
            "From the bytes of the quotes to the bytes of the last order of a round: least / median / 99th percentile.",
            "At once: the quotes of all of them in one piece of the stream. Rest: orders of another client, which each",
            "look just before sending must list. Come to rest: none of ours fills, the last is sent with 99 resting.",
            "New bests: the journal has them before a rule can fire on them; quotes of 0.2 s share a write.",
            "",
            table,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the position manager; the page is bench/position_manager.md")
    parser.add_argument("--against", metavar="COMMIT", help="only compare orders with those of a commit")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each case and side of a comparison")
    parser.add_argument("--most", type=int, default=1000, help="leave out cases of more positions in a comparison")
    options = parser.parse_args()
    page = PAGE.read_text() if PAGE.exists() else ""
    first, mark, last = page.partition(SIDE_BY_SIDE)
    if options.against:
        first, last = f"{first.rstrip()}\n\n", side_by_side(options.against, options.repeats, options.most)
    else:
        seconds = 10.0
        first = report(asyncio.run(measure(SIZES, 100, seconds)), seconds, f"{datetime.now(UTC):%Y-%m-%d}")
        first, last = f"{first}\n" if mark else first, mark + last
    PAGE.write_text(first + last)
    sys.stdout.write(first + last)


if __name__ == "__main__":
    main()
