"""How fast the simulator serves: ``python -m bench.simulator``, from the repository's root.

A simulator of its own in another process, with a real clock and without a limit of messages. Connections and ticks are
counted by clients of bare sockets, order round trips by ib_insync. The table goes to bench/simulator.md.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import statistics
import struct
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from ib_insync import IB, LimitOrder, MarketOrder, Order, Stock, Trade

ROOT = Path(__file__).parents[1]
CONTRACTS = ((265598, "AAPL"), (272093, "MSFT"))
NEXT_VALID_ID, OPEN_ORDER = "9", "5"
ORDER_ID_FIELD = 1
TICKS = {"1", "2", "45", "46"}
"""tickPrice, tickSize, tickGeneric, tickString."""
PATIENCE = 20.0
"""Seconds after which something that does not come is an error."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured: counts, and ``seconds`` of listening for each number of clients."""

    connects: int = 200
    clients: tuple[int, ...] = (1, 10, 50)
    seconds: float = 10.0
    orders: int = 100
    working: tuple[int, ...] = (1, 100)
    traders: tuple[int, ...] = (10, 50)
    equal: int = 500


@dataclass(frozen=True)
class Stream:
    """Ticks per second to all clients together, the share of a core the simulator took, its memory in MiB."""

    clients: int
    ticks: float
    core: float
    memory: float


@dataclass(frozen=True)
class RoundTrip:
    """Seconds from placing to openOrder and to Filled, one for each order."""

    working: int
    opened: tuple[float, ...]
    filled: tuple[float, ...]


@dataclass(frozen=True)
class Traders:
    """Clients that stream and trade at the same time, with a state file: orders per second of all together, seconds
    from placing to openOrder of each order, and the simulator's memory in MiB."""

    clients: int
    orders: float
    opened: tuple[float, ...]
    memory: float


@dataclass(frozen=True)
class Results:
    """What one run found: connects per second, MiB before any client, and the series."""

    connects: float
    idle_memory: float
    streams: tuple[Stream, ...]
    round_trips: tuple[RoundTrip, ...]
    traders: tuple[Traders, ...]
    equal: float
    """MiB after ``Sizes.equal`` orders of the first number of traders: runs of different speed can be compared."""


class Client:
    """A client of bare sockets, started."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, client_id: int) -> Client:
        """Connect and wait for the next valid id, which completes a client's start."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        version = b"v157..178"
        client._writer.write(b"API\0" + struct.pack(">I", len(version)) + version)
        await client.receive()
        client.send(71, 2, client_id, "")
        while await client.receive() != NEXT_VALID_ID:
            pass
        return client

    def send(self, *fields: object) -> None:
        payload = "".join(f"{field}\0" for field in fields).encode()
        self._writer.write(struct.pack(">I", len(payload)) + payload)

    async def receive(self) -> str:
        """Return the kind of the next message."""
        (length,) = struct.unpack(">I", await self._reader.readexactly(4))
        return (await self._reader.readexactly(length)).split(b"\0", 1)[0].decode()

    async def subscribe(self) -> None:
        """Subscribe to the market of all CONTRACTS and wait for the first tick."""
        for number, (con_id, symbol) in enumerate(CONTRACTS, start=1):
            contract = (con_id, symbol, "STK", "", "0", "", "", "SMART", "", "USD", "", "")
            self.send(1, 11, number, *contract, 0, "", 0, 0, "")
        while await self.receive() not in TICKS:
            pass

    async def count_ticks(self, until: float) -> int:
        """Return how many ticks come until a moment of the loop's clock."""
        count = 0
        try:
            async with asyncio.timeout_at(until):
                while True:
                    count += await self.receive() in TICKS
        except TimeoutError:
            return count

    async def trade(self, until: float) -> list[float]:
        """Place one market order after the other, each when the one before is acknowledged; return the seconds."""
        loop = asyncio.get_running_loop()
        opened: list[float] = []
        order_id = 0
        try:
            async with asyncio.timeout_at(until):
                while True:
                    order_id += 1
                    start = loop.time()
                    self.send(*market_order(order_id, "SELL" if order_id % 2 == 0 else "BUY"))
                    await self._acknowledged(str(order_id))
                    opened.append(loop.time() - start)
        except TimeoutError:
            return opened

    async def trade_orders(self, count: int) -> None:
        """Place so many market orders, each when the one before is acknowledged."""
        for order_id in range(1, count + 1):
            self.send(*market_order(order_id, "SELL" if order_id % 2 == 0 else "BUY"))
            await self._acknowledged(str(order_id))

    async def _acknowledged(self, order_id: str) -> None:
        while True:
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            fields = (await self._reader.readexactly(length)).split(b"\0", 2)
            if fields[0] == OPEN_ORDER.encode() and fields[ORDER_ID_FIELD] == order_id.encode():
                return

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def market_order(order_id: int, action: str) -> list[object]:
    """Return the fields of placeOrder at 178 for one share of AAPL at the market."""
    contract = [CONTRACTS[0][0], "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "", "", ""]
    head = [action, 1, "MKT", "", "", "DAY", "", "", "", 0, "", 1, 0, 0, 0, 0, 0, 0, 0]
    terms = ["", 0, "", "", "", "", "", "", 0, "", -1, 3, "", "", 0, "", "", 0, 0, "", 0, "", "", "", "", ""]
    rest = [0, "", "", "", "", 0, "", "", "", "", "", "", "", "", "", "", 0, "", "", 0, 0, "", "", 0, "", 0, 0, 0, 0]
    closing = ["", "", "", "", "", "", 0, "", "", "", "", "", "", "", "", 0, 0, 0, "", "", "", 0, "", ""]
    return [3, order_id, *contract, *head, *terms, *rest, *closing]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def simulator(*options: str) -> AsyncIterator[tuple[int, int]]:
    """A ready simulator: its port and the id of its process."""
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_SIMULATOR_", "TWS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway_simulator.main", "--port", str(port), "--control-port", "0", "--no-display"),
        *("--messages-per-second", "0", "--seed", "1", *options),
        env=kept | {"PYTHONPATH": str(ROOT / "simulator/src")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None  # noqa: S101  # requested above; narrows the type
    try:
        async with asyncio.timeout(PATIENCE):
            while b"Configuration tasks completed" not in (line := await process.stdout.readline()):
                if not line:
                    raise RuntimeError("the simulator ended before it was ready")
        yield port, process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def memory(process: int) -> float:
    """MiB of a process that lie in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor(process: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def memory_after(port: int, process: int, clients: int, orders: int) -> float:
    """Return the memory when each of some clients that stream has placed so many orders."""
    trading = [await Client.connect(port, client_id) for client_id in range(1, clients + 1)]
    for each in trading:
        await each.subscribe()
    await asyncio.gather(*(each.trade_orders(orders) for each in trading))
    used = memory(process)
    for each in trading:
        await each.close()
    return used


async def connects_per_second(port: int, count: int) -> float:
    """Connect one client after the other, each up to its next valid id."""
    start = time.perf_counter()
    for number in range(count):
        await (await Client.connect(port, 1000 + number)).close()
    return count / (time.perf_counter() - start)


async def stream(port: int, process: int, count: int, seconds: float) -> Stream:
    """Count what so many clients are sent at the same time."""
    clients = [await Client.connect(port, 2000 + 100 * count + number) for number in range(count)]
    try:
        await asyncio.gather(*(client.subscribe() for client in clients))
        used = processor(process)
        start = asyncio.get_running_loop().time()
        counts = await asyncio.gather(*(client.count_ticks(start + seconds) for client in clients))
        passed = asyncio.get_running_loop().time() - start
        return Stream(count, sum(counts) / passed, (processor(process) - used) / passed, memory(process))
    finally:
        for client in clients:
            await client.close()


async def round_trip(port: int, working: int, count: int) -> RoundTrip:
    """Place market orders one after the other, with so many orders of the same client at work; these are cancelled."""
    ib = IB()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
    await ib.connectAsync("127.0.0.1", port, clientId=1, timeout=PATIENCE)
    stock = Stock("AAPL", "SMART", "USD")
    opened: list[float] = []
    filled: list[float] = []
    try:
        resting = [ib.placeOrder(stock, LimitOrder("BUY", 1, 1.0)) for _ in range(working)]
        await until(ib, resting, "Submitted")
        for number in range(count):
            await one_order(ib, stock, MarketOrder("SELL" if number % 2 else "BUY", 1), opened, filled)
        for trade in resting:
            ib.cancelOrder(trade.order)
        await until(ib, resting, "Cancelled")
    finally:
        ib.disconnect()  # type: ignore[no-untyped-call]  # ib_insync leaves it untyped
    return RoundTrip(working, tuple(opened), tuple(filled))


async def traders(port: int, process: int, count: int, seconds: float) -> Traders:
    """Run so many clients that stream and trade at the same time."""
    clients = [await Client.connect(port, 5000 + 100 * count + number) for number in range(count)]
    try:
        await asyncio.gather(*(client.subscribe() for client in clients))
        start = asyncio.get_running_loop().time()
        opened = await asyncio.gather(*(client.trade(start + seconds) for client in clients))
        passed = asyncio.get_running_loop().time() - start
        each = tuple(one for of_client in opened for one in of_client)
        return Traders(count, len(each) / passed, each, memory(process))
    finally:
        for client in clients:
            await client.close()


async def until(ib: IB, trades: Sequence[Trade], status: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(trade.orderStatus.status != status for trade in trades):
            await ib.updateEvent


async def one_order(ib: IB, stock: Stock, order: Order, opened: list[float], filled: list[float]) -> None:
    """Add the seconds from placing to the first openOrder and to Filled."""
    received: list[float] = []

    def on_order(_: Trade) -> None:
        received.append(time.perf_counter())

    ib.openOrderEvent += on_order
    try:
        start = time.perf_counter()
        trade = ib.placeOrder(stock, order)
        await until(ib, [trade], "Filled")
        filled.append(time.perf_counter() - start)
        opened.append(received[0] - start)
    finally:
        ib.openOrderEvent -= on_order


async def measure(sizes: Sizes) -> Results:
    """Run all measurements against one simulator, one after the other."""
    async with simulator() as (port, process):
        idle = memory(process)
        connects = await connects_per_second(port, sizes.connects)
        streams = [await stream(port, process, count, sizes.seconds) for count in sizes.clients]
        trips = [await round_trip(port, working, sizes.orders) for working in sizes.working]
    together = []
    for count in sizes.traders:
        with TemporaryDirectory() as directory:
            async with simulator("--state-file", f"{directory}/state.json") as (port, process):
                together.append(await traders(port, process, count, sizes.seconds))
    with TemporaryDirectory() as directory:
        async with simulator("--state-file", f"{directory}/state.json") as (port, process):
            equal = await memory_after(port, process, sizes.traders[0], sizes.equal // sizes.traders[0])
    return Results(connects, idle, tuple(streams), tuple(trips), tuple(together), equal)


def describe(seconds: Sequence[float]) -> str:
    """Median and 99th percentile (the nearest rank) in milliseconds."""
    ranked = sorted(seconds)
    return f"{statistics.median(ranked) * 1000:.1f} / {ranked[-(-99 * len(ranked) // 100) - 1] * 1000:.1f}"


def report(results: Results, sizes: Sizes, day: str) -> str:
    """Return the page that reports a run."""
    first, base = results.streams[0], results.round_trips[0]
    cores = f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}"
    lines = [
        "# The simulator, measured",
        "",
        f"`python -m bench.simulator` on {day}; {cores}, Python {platform.python_version()};",
        "clients on the same machine, in one process.",
        f"{results.connects:.0f} connects per second, one after the other ({sizes.connects} of them).",
        f"Memory before the first client: {results.idle_memory:.0f} MiB.",
        "",
        f"Each client receives {len(CONTRACTS)} stocks, whose quotes move at most four times a second; "
        f"{sizes.seconds:g} s each:",
        "",
        "| clients | ticks/s to all | relative to the first row | share of a core | memory, MiB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.clients} | {row.ticks:.0f} | {row.ticks / first.ticks:.1f} | {row.core:.1%} | {row.memory:.0f} |"
        for row in results.streams
    ]
    lines += [
        "",
        f"Market orders one after the other ({sizes.orders}), ib_insync, median / 99th percentile in ms.",
        "Filled includes the 50 ms that an order takes to the market unless `LATENCY_MS` differs:",
        "",
        "| orders at work | place to openOrder | place to Filled | openOrder, median relative to the first row |",
        "|---|---|---|---|",
    ]
    for row in results.round_trips:
        relative = statistics.median(row.opened) / statistics.median(base.opened)
        lines.append(f"| {row.working} | {describe(row.opened)} | {describe(row.filled)} | {relative:.2f} |")
    lines += [
        "",
        "Clients that stream both stocks and place a market order whenever the one before is acknowledged, with a",
        f"state file, a simulator of its own for each row; {sizes.seconds:g} s each, median / 99th percentile in ms:",
        "",
        "| traders | orders/s of all | place to openOrder | memory, MiB |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row.clients} | {row.orders:.0f} | {describe(row.opened)} | {row.memory:.0f} |" for row in results.traders
    ]
    lines += ["", f"Memory after {sizes.equal} orders of {sizes.traders[0]} traders: {results.equal:.0f} MiB."]
    return "\n".join(lines) + "\n"


def main() -> None:
    sizes = Sizes()
    page = report(asyncio.run(measure(sizes)), sizes, f"{datetime.now(UTC):%Y-%m-%d}")
    (ROOT / "bench/simulator.md").write_text(page)
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
