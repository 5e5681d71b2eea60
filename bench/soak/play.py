"""Carries out a scenario in a world, and records what happens."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.soak.records import CLOSE_BOUND, Episode, Fill, MemorySample, Message, Outage, Records
from bench.soak.scenario import BREAK, HALF_DAYS, NEW_YORK, SYMBOLS, Event, Kind, trading_day
from bench.soak.world import World, world
from position_manager import connection_state

BASE = Decimal(100)
BEYOND = Decimal("0.12")
"""Of the price, so that the stop at 10 % is exceeded by far and not recovered."""
PATIENCE = connection_state.Patience()
LOSSES = frozenset({Kind.LINK_LOST, Kind.DROP, Kind.CRASH})
CALM = timedelta(seconds=40)
"""How long after the last event time passes as the manager asks for it, before it passes faster."""


@dataclass(frozen=True)
class Pace:
    """How much time passes at once when nothing happens: while the market is open, and while it is closed."""

    open: float = 300.0
    closed: float = 600.0


class Player:
    """One run."""

    def __init__(self, world: World, pace: Pace) -> None:
        self._world = world
        self._pace = pace
        self.records = Records()
        self._prices: dict[str, Decimal] = {}
        self._episodes: dict[str, Episode] = {}
        """By symbol: those that are not closed yet."""
        self._late: set[str] = set()
        """Those of them that were not closed in time."""
        self._positions: dict[str, Decimal] = {}
        self._read = 0
        self._ticks = 0
        self._calm_from = world.now
        self._later: list[tuple[datetime, Event]] = []
        self._away_since: datetime | None = None
        self._killed = False
        self._lives = {"manager": 0, "simulator": 0}
        self._farm_down = False
        self._silent = ""
        self._sent: dict[str, datetime] = {}
        """When the first order of the manager's for a symbol since its stop was exceeded was at the broker."""
        self._could_since: datetime | None = None

    # ----- time

    async def play(self, events: Sequence[Event]) -> None:
        """Everything, in order, and until all is quiet after it."""
        world = self._world
        await world.gateway.start(world.now)
        for symbol in SYMBOLS:
            await self._price(symbol, BASE)
        await world.start_manager()
        self._killed = True
        self._away_since = world.now
        await world.settle()
        for event in events:
            await self._until(event.at)
            await self._on(event)
        await self._until(world.now + timedelta(minutes=20))

    async def _until(self, moment: datetime) -> None:
        """Let time pass until a moment, with what falls due on the way."""
        world = self._world
        while True:
            due = sorted((each for each in self._later if each[0] <= world.now), key=lambda each: each[0])
            for each in due:
                self._later.remove(each)
                await self._on(each[1])
            left = (moment - world.now).total_seconds()
            if left <= 0:
                return
            if self._later:
                left = min(left, max(0.001, (min(at for at, _ in self._later) - world.now).total_seconds()))
            await self._pass(left)

    async def _pass(self, most: float) -> None:
        world = self._world
        is_open = self._open(world.now)
        leap = self._pace.open if is_open else self._pace.closed
        if self._calm and most > 30 and leap > 30:
            # Quotes first: in the real market they never stop.
            await self._tick()
            await world.step(min(most - 12, leap), 1)
            self._note()
            if not is_open:
                return
            for _ in range(3):
                await self._tick()
                await world.step(4, 1)
                self._note()
            return
        next_due = world.manager.seconds_to_next(world.now) if world.manager.running else None
        if is_open or self._busy:
            seconds = min(most, 1.0 if self._busy else 5.0)
            if next_due is not None:
                seconds = min(seconds, max(0.02, next_due))
        else:
            # Nothing can be traded: what the manager does by itself may come late.
            seconds = min(most, 20.0 if self._pace.closed > 60 else 5.0)
        if self._ticks % 2 or seconds >= 1:
            await self._tick()
        self._ticks += 1
        await world.step(seconds, max(1, round(seconds * 2)))
        self._note()

    @property
    def _busy(self) -> bool:
        """A position is to be closed in an open market, and it is not certain yet that it was not closed in time."""
        waiting = (symbol for symbol, episode in self._episodes.items() if episode.breached is not None)
        return self._open(self._world.now) and not self._late.issuperset(waiting)

    @property
    def _calm(self) -> bool:
        world = self._world
        up = world.gateway.running and world.manager.phase == "READY"
        return up and not self._busy and not self._later and world.now >= self._calm_from

    def _open(self, now: datetime) -> bool:
        local = now.astimezone(NEW_YORK)
        closes = 13 if local.date() in HALF_DAYS else 16
        return trading_day(local.date()) and (local.hour, local.minute) >= (9, 30) and local.hour < closes

    # ----- the market

    async def _price(self, symbol: str, middle: Decimal) -> None:
        """Not while a gateway is not logged in: then nobody sees prices."""
        self._prices[symbol] = middle
        cents = Decimal("0.01")
        await self._world.gateway.ask("set-price", symbol, f"bid={middle - cents}", f"ask={middle + cents}")

    async def _tick(self) -> None:
        """The prices of what is held move by a cent, there and back."""
        if not self._world.gateway.running:
            return
        for symbol, held in self._positions.items():
            if held:
                nudge = Decimal("0.01") if self._ticks % 2 else Decimal("-0.01")
                middle = self._prices[symbol]
                await self._price(symbol, middle + nudge)
                self._prices[symbol] = middle

    # ----- events

    async def _on(self, event: Event) -> None:
        world, kind, before = self._world, event.kind, self._world.manager.phase
        self._calm_from = world.now + CALM
        self.records.injected[f"{kind} {event.what}".strip() if kind is Kind.FAULT else kind] += 1
        match kind:
            case Kind.STEP:
                await self._finish(event.what)
            case Kind.NOON:
                self._calm_from = world.now
                await self._weigh()
            case Kind.OPEN:
                await self._open_position(event)
            case Kind.BREACH:
                await self._breach(event.what)
            case Kind.FAULT | Kind.LINK_LOST | Kind.LINK_BACK | Kind.FARM_DOWN | Kind.FARM_UP | Kind.DROP:
                await self._ask(event)
            case Kind.SILENT_FEED | Kind.FEED_BACK | Kind.CANCELS_HELD | Kind.CANCELS_FREE:
                await self._ask(event)
            case Kind.CRASH:
                await world.gateway.end(crash=True)
                self._do_later(event, "start gateway")
            case Kind.RESTART:
                await self._restart(event, "restart-daily")
            case Kind.COLD_RESTART:
                await self._restart(event, "restart-cold")
            case Kind.KILL:
                await world.manager.kill()
                self._killed = True
                self._do_later(Event(event.at, kind, minutes=10 / 60), "start manager")
            case Kind.REBOOT:
                await world.manager.kill()
                self._killed = True
                await world.gateway.end(crash=False)
                self._do_later(event, "start gateway")
                self._do_later(event, "start manager")
            case Kind.WEBHOOK_DOWN:
                world.webhook.down = True
            case Kind.WEBHOOK_UP:
                world.webhook.down = False
        await world.settle()
        if kind in LOSSES and before == world.manager.phase == "READY":
            self.records.unnoticed.append(f"{kind} at {world.now}")
        self._note()

    def _do_later(self, event: Event, what: str) -> None:
        at = self._world.now + timedelta(minutes=event.minutes)
        self._later.append((at, Event(at, Kind.STEP, what)))

    async def _restart(self, event: Event, command: str) -> None:
        """The gateway logs in again; the API is served ``minutes`` later."""
        gateway = self._world.gateway
        if not gateway.running:
            self.records.skipped[event.kind] += 1
            return
        await gateway.command("set-now", "CONNECT", "accept_and_close")
        if command == "restart-cold":
            await gateway.command("set", "TWOFA", "never")
        await gateway.command(command)
        await gateway.reach("restarting", "starting", "logging_in", "awaiting_2fa")
        if command == "restart-cold":
            await gateway.reach("awaiting_2fa")
        else:
            await gateway.reach("logged_in")
        self._do_later(event, "approve" if command == "restart-cold" else "serve")

    async def _ask(self, event: Event) -> None:
        gateway = self._world.gateway
        if not gateway.running:
            self.records.skipped[event.kind] += 1
            return
        words = {
            Kind.FAULT: ("fault", event.what),
            Kind.LINK_LOST: ("lose-connection",),
            Kind.LINK_BACK: ("restore-connection", *filter(None, [event.what])),
            Kind.FARM_DOWN: ("farm-down",),
            Kind.FARM_UP: ("farm-up",),
            Kind.DROP: ("disconnect-clients",),
            Kind.SILENT_FEED: ("feed", "all", "stale", event.what),
            Kind.FEED_BACK: ("feed", "all", "live"),
            Kind.CANCELS_HELD: ("pending-cancel", "on"),
            Kind.CANCELS_FREE: ("pending-cancel", "off"),
        }[event.kind]
        await gateway.command(*words)
        if event.kind in (Kind.FARM_DOWN, Kind.FARM_UP):
            self._farm_down = event.kind is Kind.FARM_DOWN
        if event.kind in (Kind.SILENT_FEED, Kind.FEED_BACK):
            self._silent = event.what

    async def _finish(self, what: str) -> None:
        """The second half of an event."""
        world = self._world
        gateway = world.gateway
        match what:
            case "start gateway":
                await gateway.start(world.now)
                # Prices that were set outlive it.
                self._farm_down, self._silent = False, ""
                self._lives["simulator"] += 1
            case "start manager":
                if not world.manager.running:
                    await world.start_manager()
                    self._lives["manager"] += 1
            case "approve":
                await gateway.command("approve-2fa")
                await gateway.reach("logged_in")
                await gateway.command("set", "TWOFA", "none")
                await gateway.command("set-now", "CONNECT", "normal")
            case "serve":
                await gateway.command("set-now", "CONNECT", "normal")

    async def _open_position(self, event: Event) -> None:
        gateway, symbol = self._world.gateway, event.what
        if not gateway.running or symbol in self._episodes or self._positions.get(symbol):
            self.records.skipped[event.kind] += 1
            return
        await self._price(symbol, BASE)
        answer = await gateway.ask("trade", symbol, str(event.amount))
        if not answer["ok"]:
            self.records.skipped[event.kind] += 1
            return
        episode = Episode(symbol, event.amount, self._world.now)
        self._episodes[symbol] = episode
        self.records.episodes.append(episode)

    async def _breach(self, symbol: str) -> None:
        episode = self._episodes.get(symbol)
        if episode is None or not self._positions.get(symbol) or not self._world.gateway.running:
            self.records.skipped[Kind.BREACH] += 1
            return
        await self._price(symbol, BASE * (1 - BEYOND if episode.quantity > 0 else 1 + BEYOND))
        episode.breached = self._world.now

    # ----- what is recorded

    def _note(self) -> None:
        """After each step."""
        self._note_phase()
        self._note_journal()

    def _note_phase(self) -> None:
        world = self._world
        now, phase = world.now, world.manager.phase
        if phase == "READY":
            if self._away_since is not None:
                expected = PATIENCE.span(self._away_since) is not None
                self.records.outages.append(Outage(self._away_since, now, expected, self._killed))
            self._away_since, self._killed = None, False
        elif phase == "MAINTENANCE" and self._away_since is None and not self._killed:
            # Frozen before a restart: no outage by itself.
            pass
        elif self._away_since is None:
            self._away_since = now
            self._calm_from = now + CALM
        could = phase == "READY" and not self._farm_down and not self._silent and self._open(now)
        if not could:
            self._could_since = None
        elif self._could_since is None:
            self._could_since = now
        for symbol, episode in self._episodes.items():
            if episode.breached is None or self._could_since is None:
                continue
            if now - max(episode.breached, self._could_since) > CLOSE_BOUND + BREAK:
                self._late.add(symbol)

    def _note_journal(self) -> None:
        world = self._world
        for episode in self._episodes.values():
            if episode.breached is not None and self._could_since is not None and episode.ordered is None:
                episode.could_since = max(episode.breached, self._could_since)
        path = world.gateway.journal
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole, _, _ = data.rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            self._on_broker(json.loads(line))

    def _on_broker(self, fact: dict[str, Any]) -> None:
        match fact["event"]:
            case "OrderOpened" if str(fact["order_ref"]).startswith("pm:"):
                episode = self._episodes.get(fact["symbol"])
                if episode is not None and episode.breached is not None and episode.ordered is None:
                    episode.ordered = datetime.fromisoformat(fact["time"])
                    since = episode.could_since or episode.breached
                    episode.lag = max(timedelta(), episode.ordered - since)
            case "OrderFilled":
                symbol, quantity = fact["symbol"], Decimal(fact["shares"])
                before = self._positions.get(symbol, Decimal(0))
                after = before + (quantity if fact["side"] == "BOT" else -quantity)
                at = datetime.fromisoformat(fact["time"])
                self.records.fills.append(
                    Fill(at, fact["exec_id"], fact["order_ref"] or "", symbol, quantity, before, after)
                )
                self._positions[symbol] = after
                if not after and (episode := self._episodes.pop(symbol, None)) is not None:
                    episode.closed = at
                    self._late.discard(symbol)
                    episode.ready = at - (episode.could_since or at)

    async def _weigh(self) -> None:
        world = self._world
        if world.manager.running:
            used = await world.manager.memory()
            self.records.memory.append(MemorySample(world.now, "manager", self._lives["manager"], *used))
        if world.gateway.running:
            sample = MemorySample(world.now, "simulator", self._lives["simulator"], world.gateway.memory)
            self.records.memory.append(sample)


def read_journal(path: Path, records: Records) -> None:
    """What the manager's journal states, once it has ended."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        for ref, exec_id, quantity in journal.execute("SELECT ref, exec_id, quantity FROM fills"):
            records.journal[ref] = records.journal.get(ref, Decimal(0)) + Decimal(quantity)
            records.journal_executions.add(exec_id)
        (records.locks,) = journal.execute("SELECT COUNT(*) FROM locks").fetchone()


async def soak(directory: Path, events: Sequence[Event], seed: int, pace: Pace) -> Records:
    """Play a scenario from an hour before its first event; what was recorded."""
    start = events[0].at.astimezone(UTC) - 60 * BREAK
    async with world(directory, start, seed) as everything:
        player = Player(everything, pace)
        await player.play(events)
        records = player.records
        everything.webhook.down = False
        await everything.manager.stop()
        records.messages = [Message(post.at, post.title) for post in everything.webhook.posts]
        read_journal(everything.manager.journal, records)
    return records
