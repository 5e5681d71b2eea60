"""A drill over the simulated broker: no gateway, the same engine, the same cases as far as there is no wire in them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

from position_manager.brokers import sim_books
from position_manager.brokers.broker import Broker, BrokerEvent, Disconnected, OrderReceived
from position_manager.brokers.sim_broker import SimBroker
from position_manager.clock import Clock
from position_manager.config.schema import Config
from position_manager.config.sim import Sim
from position_manager.drill.bench import Bought, Truth
from position_manager.drill.cases import Moment, Tripwire
from position_manager.drill.fence import Field
from position_manager.journal.records import OrderToSend
from position_manager.model import Instrument
from position_manager.orders.intents import Side
from position_manager.orders.ladder import to_tick

CUT = "cut by the drill"
CLIENT_ID = 100


class CutSimBroker(SimBroker):
    """A simulated broker that goes away when the tripwire springs."""

    def __init__(self, sim: Sim, path: Path, tripwire: Tripwire, *, clock: Clock) -> None:
        super().__init__(sim, path, clock=clock, client_id=CLIENT_ID)
        self._tripwire = tripwire

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        super().listen(partial(self._pass_on, on_event))

    def _pass_on(self, on_event: Callable[[BrokerEvent], None], event: BrokerEvent) -> None:
        if self._live is None and not isinstance(event, Disconnected):
            # The session is over; later events of the exchange are not delivered.
            return
        shown = isinstance(event, OrderReceived)
        if shown and self._tripwire.waits_for(Moment.ARRIVED):
            self._cut()
            return
        on_event(event)
        if shown and self._tripwire.waits_for(Moment.ACKNOWLEDGED):
            self._cut()

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        if self._tripwire.waits_for(Moment.LEFT):
            self._cut()
            return
        super().send(order, instrument, tif=tif, outside_rth=outside_rth)

    def _cut(self) -> None:
        self._tripwire.spring()
        self.drop(CUT)


class SimBench:
    """An account of its own for each case, which holds one unit from the start; its books are in ``directory``."""

    name = "the simulated broker"

    def __init__(self, symbol: str, directory: Path, *, option: bool, clock: Clock) -> None:
        what: dict[str, object] = {"symbol": symbol, "quantity": 1}
        if option:
            what |= {"kind": "OPT", "strike": 450, "right": "C"}
        sim = {"underlyings": {symbol: {"price": 450}}, "positions": [what]}
        self.config = Config.model_validate({"mode": "sim", "sim": sim})
        self._sim = self.config.sim or Sim()
        self._path = directory / "simulated.json"
        self._clock = clock
        self._broker: SimBroker | None = None

    async def buy(self) -> Bought:
        """It is there already."""
        books = SimBroker(self._sim, self._path, clock=self._clock, client_id=CLIENT_ID).books
        today = sim_books.day_of(self._clock.now())
        ((con_id, instrument),) = sim_books.instruments(self._sim, today, today).items()
        held = books.holdings[con_id]
        # Half of it: the market's price is better, and the order trades at that.
        limit = to_tick(instrument, Side.SELL, held.average_price / 2)
        return Bought(Field(self._sim.account, con_id, held.quantity), instrument.label, limit)

    def broker(self, tripwire: Tripwire) -> Broker:
        self._broker = CutSimBroker(self._sim, self._path, tripwire, clock=self._clock)
        return self._broker

    def sever(self) -> None:
        if self._broker is not None:
            self._broker.drop(CUT)

    async def truth(self, bought: Bought) -> Truth:
        """From the file, as another process would find it."""
        books = SimBroker(self._sim, self._path, clock=self._clock, client_id=CLIENT_ID).books
        account = self._sim.account
        held = books.holdings.get(bought.field.con_id)
        return Truth(
            Decimal(0) if held is None else held.quantity,
            tuple(sim_books.open_order(order, account, cancelling=False) for order in books.live),
            tuple(sim_books.execution_of(done, account) for done in books.executions),
        )

    async def left(self) -> str | None:
        """Nothing that is worth anything."""
        return None
