"""A drill over a gateway: one unit is bought by hand, and the engine reaches the gateway through a relay that cuts.

Three clients connect: the engine's (through the relay), one that asks what is true, and one that buys. Accounts are
verified to be paper ones before anything else is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from ib_connection.accounts import AccountKind, masked, masked_list
from ib_connection.handshake import Target, close, connect
from ib_connection.ib_library import IB, Contract, ContractDetails, LimitOrder, Option, RequestError, Stock
from position_manager.brokers.broker import Broker, BrokerError, BrokerEvent
from position_manager.brokers.ib_broker import IbBroker
from position_manager.brokers.ib_contracts import ContractBook
from position_manager.brokers.ib_words import quote_of
from position_manager.clock import Clock
from position_manager.config.precedence import resolve
from position_manager.config.schema import Config, Mode
from position_manager.drill.bench import Bought, DrillError, Truth
from position_manager.drill.cases import Tripwire
from position_manager.drill.fence import Field
from position_manager.drill.proxy import Proxy
from position_manager.model import Instrument, Position, Quote
from position_manager.orders.evidence import Execution, OpenOrder
from position_manager.orders.intents import Side
from position_manager.orders.ladder import to_tick
from position_manager.rules.groups import single
from position_manager.sessions.hours import is_open, next_open

QUANTITY = Decimal(1)
PRICE_WITHIN = 15.0
FILLED_WITHIN = 30.0
SETTLE = timedelta(seconds=2)
"""How long the account must be quiet at the end: a duplicate order may be executed only then."""
ANSWER_WITHIN = 10.0
SLACK = {True: Decimal("0.10"), False: Decimal("0.01")}
"""How far beyond the other side of the quote a limit lies, for options and for the rest: it trades at once."""
DELAYED = 3
"""The market data type that is live where live quotes are paid for, and delayed elsewhere."""
OPTION_AFTER = timedelta(days=7)
CLIENTS = 3
"""Client ids that are used, one after the other."""

NO_CONTRACT = 200
"""The code of: no security definition has been found."""
_T = TypeVar("_T")

CreateBroker = Callable[[Config, Clock], Broker]


@dataclass(frozen=True)
class Wish:
    """What to buy, and as whom. ``account`` None: the only one there is."""

    symbol: str
    option: bool
    account: str | None
    client_id: int


def engine_config(config: Config, wish: Wish, account: str, port: int) -> Config:
    """An engine that guards nothing by itself."""
    return Config.model_validate(
        {
            "mode": "paper",
            "accounts": [account],
            "expected_accounts": list(config.expected_accounts),
            "poll_seconds": 5,
            "gateway": {"host": "127.0.0.1", "port": port, "client_id": wish.client_id},
        }
    )


class GatewayBench:
    """Created by `opened`."""

    def __init__(
        self,
        config: Config,
        proxy: Proxy,
        buyer: IB,
        auditor: IbBroker,
        *,
        clock: Clock,
        create_broker: CreateBroker,
        settle: timedelta,
    ) -> None:
        self.config = config
        self.name = f"{auditor.name}, account {masked(config.accounts[0])}"
        self.account = config.accounts[0]
        self._proxy = proxy
        self._buyer = buyer
        self._auditor = auditor
        self._clock = clock
        self._create_broker = create_broker
        self._settle = settle
        self._moved = asyncio.Event()
        self._contract = Contract()
        self._instrument: Instrument | None = None
        self._before: frozenset[str] = frozenset()
        auditor.listen(self._on_event)

    def _on_event(self, _event: BrokerEvent) -> None:
        self._moved.set()

    @property
    def instrument(self) -> Instrument:
        if self._instrument is None:
            raise RuntimeError("no contract was chosen yet")
        return self._instrument

    async def prepare(self, wish: Wish, rules: Config | None) -> None:
        """Choose the contract. ``rules``: those of a position manager that runs meanwhile. Raises DrillError if it
        must not be traded: it is held, ordered, or guarded already, or its market is closed."""
        stock = await self._only(Stock(wish.symbol, "SMART", "USD"), wish.symbol)
        self._contract = await self._option(stock) if wish.option else stock
        self._instrument = await self._learn(self._contract)
        label, now = self.instrument.label, self._clock.now()
        held, orders, _ = await self._state()
        if held:
            raise DrillError(f"{masked(self.account)} holds {held:f} {label} already. Choose another --symbol.")
        if orders:
            raise DrillError(f"{masked(self.account)} has open orders in {label}. Choose another --symbol.")
        if not is_open(self.instrument.liquid_hours, now):
            opens = next_open(self.instrument.liquid_hours, now)
            when = f"it opens at {opens.isoformat()}" if opens else "its hours are not known"
            raise DrillError(f"The market of {label} is closed, {when}. Try again while it is open.")
        if rules is not None and (guarded := _guarded(self.instrument, self.account, rules)):
            raise DrillError(
                f"The position manager runs and would guard {label} ({guarded}): it may close what the drill buys. "
                "Choose another --symbol, or stop it for the drill."
            )

    async def _ask(self, what: str, question: Awaitable[_T]) -> _T:
        try:
            return await asyncio.wait_for(question, ANSWER_WITHIN)
        except TimeoutError as error:
            raise BrokerError(f"{what}: not answered within {ANSWER_WITHIN:g} s") from error
        except (RequestError, ConnectionError) as error:
            raise BrokerError(f"{what}: {error}") from error

    async def _details(self, contract: Contract) -> list[ContractDetails]:
        """Of every contract that fits; none if there is none."""
        try:
            return await self._ask("contract details", self._buyer.reqContractDetailsAsync(contract))
        except BrokerError as error:
            if isinstance(error.__cause__, RequestError) and error.__cause__.code == NO_CONTRACT:
                return []
            raise

    async def _only(self, contract: Contract, name: str) -> Contract:
        found = await self._details(contract)
        if not found or found[0].contract is None:
            raise DrillError(f"The broker knows no {name}. Choose another --symbol.")
        return found[0].contract

    async def _option(self, stock: Contract) -> Contract:
        """A call at the money that has a week to live."""
        asked = self._buyer.reqSecDefOptParamsAsync(stock.symbol, "", "STK", stock.conId)
        chains = await self._ask(f"options of {stock.symbol}", asked)
        chain = next((one for one in chains if one.exchange == "SMART"), None)
        earliest = f"{(self._clock.now().date() + OPTION_AFTER):%Y%m%d}"
        expiry = None if chain is None else min((day for day in chain.expirations if day >= earliest), default=None)
        if chain is None or expiry is None:
            raise DrillError(f"{stock.symbol} has no options. Choose another --symbol.")
        middle = float((await self._quote(stock)).mid or 0)
        for strike in sorted(chain.strikes, key=lambda strike: abs(strike - middle))[:5]:
            wanted = Option(stock.symbol, expiry, strike, "C", "SMART", tradingClass=chain.tradingClass)
            if found := await self._details(wanted):
                return found[0].contract or wanted
        raise DrillError(f"No call of {stock.symbol} near {middle:g} was found. Choose another --symbol.")

    async def _learn(self, contract: Contract) -> Instrument:
        book = ContractBook()
        for details in await self._details(Contract(conId=contract.conId)):
            book.learn(details, self._clock.now())
        for rule in book.missing_rules():
            book.rules[rule] = await self._ask(f"market rule {rule}", self._buyer.reqMarketRuleAsync(rule)) or ()
        instrument = book.instrument(contract)
        self._contract = book.contract(contract.conId) or contract
        return instrument

    async def _quote(self, contract: Contract) -> Quote:
        self._buyer.reqMarketDataType(DELAYED)
        ticker = self._buyer.reqMktData(contract)
        try:
            async with asyncio.timeout(PRICE_WITHIN):
                while not ((quote := quote_of(ticker, self._clock.now(), live=True, magnifier=1)).bid and quote.ask):
                    await ticker.updateEvent
                return quote
        except TimeoutError as error:
            raise DrillError(
                f"{contract.localSymbol or contract.symbol} has no quote, not even a delayed one: it cannot be priced. "
                "Try again while its market is open, or choose another --symbol."
            ) from error
        finally:
            self._buyer.cancelMktData(contract)

    # ----- what every case needs

    async def buy(self) -> Bought:
        instrument = self.instrument
        quote = await self._quote(self._contract)
        self._before = frozenset(one.fill.exec_id for one in (await self._state())[2])
        slack = SLACK[instrument.is_option]
        buys, sells = (quote.ask or Decimal()) * (1 + slack), (quote.bid or Decimal()) * (1 - slack)
        order = LimitOrder(
            "BUY", float(QUANTITY), float(to_tick(instrument, Side.BUY, buys)),
            account=self.account, tif="DAY", orderRef="drill", transmit=True,
        )  # fmt: skip
        trade = self._buyer.placeOrder(self._contract, order)
        try:
            async with asyncio.timeout(FILLED_WITHIN):
                while not trade.isDone():  # type: ignore[no-untyped-call]  # ib_insync's, untyped
                    await trade.statusEvent
        except TimeoutError as error:
            self._buyer.cancelOrder(order)
            raise DrillError(f"{instrument.label} was not bought within {FILLED_WITHIN:g} s.") from error
        if trade.orderStatus.status != "Filled":
            reason = "; ".join(entry.message for entry in trade.log if entry.message) or trade.orderStatus.status
            raise DrillError(f"{instrument.label} was not bought: {reason}")
        self._before |= await self._shown()
        field = Field(self.account, instrument.con_id, QUANTITY)
        return Bought(field, instrument.label, to_tick(instrument, Side.SELL, sells))

    async def _shown(self) -> frozenset[str]:
        """Until what was bought is in the position and among the executions; the ids of those."""
        label = self.instrument.label
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                while True:
                    held, orders, executions = await self._state()
                    new = [one.fill for one in executions if one.fill.exec_id not in self._before]
                    if held == QUANTITY and not orders and sum(fill.quantity for fill in new) == QUANTITY:
                        return frozenset(fill.exec_id for fill in new)
                    self._moved.clear()
                    await self._clock.wait(self._moved, timedelta(seconds=1))
        except TimeoutError as error:
            raise DrillError(f"{label} was bought, but position, orders and executions do not agree on it.") from error

    def broker(self, tripwire: Tripwire) -> Broker:
        self._proxy.tripwire = tripwire
        return self._create_broker(self.config, self._clock)

    def sever(self) -> None:
        self._proxy.sever()

    async def _state(self) -> tuple[Decimal, tuple[OpenOrder, ...], tuple[Execution, ...]]:
        """Position, open orders and executions in the contract."""
        account, con_id = self.account, self.instrument.con_id
        reread = await self._auditor.read_again(account, con_id)
        orders = tuple(one for one in reread.open_orders if (one.account, one.con_id) == (account, con_id))
        executions = await self._auditor.executions()
        return reread.quantity, orders, tuple(o for o in executions if (o.account, o.con_id) == (account, con_id))

    async def truth(self, bought: Bought) -> Truth:
        position, orders, executions = await self._state()
        return Truth(position, orders, tuple(one for one in executions if one.fill.exec_id not in self._before))

    async def left(self) -> str | None:
        label, account = self.instrument.label, masked(self.account)
        self._moved.clear()
        await self._clock.wait(self._moved, self._settle)
        try:
            held, orders, _ = await self._state()
        except BrokerError as error:
            return f"What {account} holds of {label} could not be read ({error}): check it in TWS, and close it there."
        parts = [
            f"{order.side} {order.remaining:f} {label} is still open (permId {order.perm_id}): cancel it in TWS."
            for order in orders
        ]
        if held:
            remedy = f"{'sell' if held > 0 else 'buy'} {abs(held):f} {label} in TWS"
            parts.append(f"{account} holds {held:f} {label} because of the drill: {remedy}.")
        return " ".join(parts) or None


def _guarded(instrument: Instrument, account: str, rules: Config) -> str:
    """The keys of the rules that would guard what the drill buys; empty if there are none."""
    held = Position(account, instrument, QUANTITY, Decimal(1))
    groups = [f"groups.{name}" for name, group in rules.groups.items() if any(leg.matches(held) for leg in group.legs)]
    return ", ".join([*groups, *resolve(single(held), rules).origins.values()])


@asynccontextmanager
async def opened(
    config: Config,
    wish: Wish,
    *,
    clock: Clock,
    rules: Config | None = None,
    create_broker: CreateBroker = IbBroker,
    settle: timedelta = SETTLE,
) -> AsyncIterator[GatewayBench]:
    """A bench at the gateway of a configuration, ready to buy. ``rules``: see `GatewayBench.prepare`.

    Raises DrillError, and BrokerError if the gateway cannot be had.
    """
    ids = range(wish.client_id, wish.client_id + CLIENTS)
    if config.mode is not Mode.PAPER:
        raise DrillError(f"The configuration is of mode {config.mode}: a drill buys and sells in paper accounts only.")
    if config.gateway.client_id in ids:
        used = (
            f"Client ids {ids[0]} to {ids[-1]} would be used, and {config.gateway.client_id} is the position manager's"
        )
        raise DrillError(f"{used}. Choose others with --client-id.")
    host, port = config.gateway.host, config.port
    target = Target(host, port, AccountKind.PAPER, expected_accounts=config.expected_accounts)
    result, buyer = await connect(target, ids[2], timeout=ANSWER_WITHIN)
    if buyer is None or result.cause is not None:
        reason = f"{result.cause.text}. {result.cause.remedy}" if result.cause is not None else "no session"
        raise DrillError(f"No session with {host}:{port} as client {ids[2]}: {reason} ({result.detail})")
    proxy = Proxy(host, port)
    gateway = config.gateway.model_copy(update={"client_id": ids[1]})
    auditor = IbBroker(config.model_copy(update={"gateway": gateway}), clock, answer_within=ANSWER_WITHIN)
    try:
        account = _account(result.accounts, config, wish)
        await proxy.start()
        own = engine_config(config, wish, account, proxy.port)
        bench = GatewayBench(own, proxy, buyer, auditor, clock=clock, create_broker=create_broker, settle=settle)
        await auditor.connect()
        await bench.prepare(wish, rules)
        yield bench
    finally:
        await auditor.close()
        await proxy.close()
        await close(buyer)


def _account(accounts: Iterable[str], config: Config, wish: Wish) -> str:
    guarded = [account for account in accounts if not config.accounts or account in config.accounts]
    if wish.account is not None:
        if wish.account not in guarded:
            raise DrillError(f"{masked(wish.account)} is not among the accounts: {masked_list(guarded)}.")
        return wish.account
    if len(guarded) != 1:
        raise DrillError(f"There are {len(guarded)} accounts: {masked_list(guarded)}. Name one with --account.")
    return guarded[0]
