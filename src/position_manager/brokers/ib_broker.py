"""A gateway as the broker, over ib_insync 0.9.86, which only the modules ib_* and the drill use.

The conclusions of ib_insync are not used: it marks live orders as cancelled after 10148 and 10349, keeps the state of a
session that is over, and falls back to stale prints. So each session has an `IB` of its own, created and verified by
the code that the deploy verifies with, and the events reported here come from the messages and from complete answers.

An answer that does not come in time ends the session: ib_insync keeps one list for each kind of answer, and a late one
would end the next question with a part of it.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from ib_connection.accounts import AccountKind
from ib_connection.handshake import Target, close, connect
from ib_connection.ib_library import (
    IB,
    Contract,
    ExecutionFilter,
    LimitOrder,
    Order,
    RequestError,
    StopLimitOrder,
    Ticker,
)
from position_manager.account.assignment import Dividend
from position_manager.account.values import AccountValues
from position_manager.brokers import ib_combos
from position_manager.brokers.broker import (
    BrokerError,
    BrokerEvent,
    CodeReceived,
    CommissionReceived,
    ConnectError,
    DetailsReceived,
    Disconnected,
    ExecutionReceived,
    LeftOut,
    LeftOutReceived,
    OrderReceived,
    PositionReceived,
    QuoteReceived,
    QuotesReceived,
    Reread,
    Session,
    ends_quotes,
)
from position_manager.brokers.ib_account import ask_values
from position_manager.brokers.ib_contracts import ContractBook, kind_of, per_unit, share_texts
from position_manager.brokers.ib_dividends import ask_dividend
from position_manager.brokers.ib_pace import Pace
from position_manager.brokers.ib_stream import Stream
from position_manager.brokers.ib_words import completed_of, execution_of, number, quote_of, side_of
from position_manager.brokers.shared_question import SharedQuestion
from position_manager.clock import Clock
from position_manager.config.schema import Config, Mode
from position_manager.journal.records import ComboToSend, OrderToSend
from position_manager.model import Instrument, Kind, Position
from position_manager.orders.evidence import CompletedOrder, Execution, OpenOrder

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

ORDER_STATUS = "3"
"""Message id of orderStatus: ``3|orderId|status|filled|remaining|avgFillPrice|permId|parentId|…|clientId|…``."""
UNREAD = (6, 7)
"""Message ids of updateAccountValue and updatePortfolio: ib_insync subscribes to them when it connects, and stores them
for each holding. Values are asked for instead (`ask_values`), and holdings are positions."""
FIRST_QUESTION = 1_000_000_000
"""Questions are numbered from here: a message of the gateway about a question must never be taken for one about an
order, and orders are numbered from the id that the gateway reported at the start of the session."""
REFRESHED_AT_ONCE = 100
"""The details of this many contracts are requested before the next positions have them; 1000 of them take half a
minute."""
RETIRED_FOR = 60.0
"""Seconds after which no tick of a cancelled subscription can arrive any more."""
LIVE = 1
"""The market data type of live quotes; 2 is frozen, 3 delayed, 4 both."""
_KINDS = {Mode.PAPER: AccountKind.PAPER, Mode.LIVE: AccountKind.LIVE, Mode.SHADOW: None}


class IbBroker:
    """One gateway. ``answer_within``: seconds after which a question counts as not answered."""

    def __init__(self, config: Config, clock: Clock, *, answer_within: float = 10.0) -> None:
        gateway = config.gateway
        self.client_id = gateway.client_id
        self.name = f"IB at {gateway.host}:{config.port}"
        self._target = Target(
            gateway.host,
            config.port,
            _KINDS[config.mode],
            expected_accounts=config.expected_accounts,
            orders_needed=config.mode.sends,
        )
        self._clock = clock
        self._answer_within = answer_within
        self._on_event: Callable[[BrokerEvent], None] = _nobody
        self._ib: IB | None = None
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """ib_insync keeps one answer for each kind of question: of a kind there is one question at a time."""
        self._all_open_orders: SharedQuestion[tuple[OpenOrder, ...]] | None = None
        """Of the present session."""
        self._together: list[QuoteReceived] | None = None
        """The quotes of messages that have arrived together, while those are handled."""
        self._pace = Pace()
        self._book = ContractBook()
        self._held: dict[tuple[str, int], Decimal] = {}
        self._shown: dict[int, OpenOrder] | None = None
        self._shown_legs: dict[int, tuple[ib_combos.ShownLeg, ...]] = {}
        self._orders: set[int] = set()
        self._next_id = 1
        self._tickers: dict[int, Ticker] = {}
        self._wanted: dict[int, Instrument] = {}
        self._to_watch: deque[int] = deque()
        self._ended: set[int] = set()
        """Contracts whose subscription a message has ended: only `renew` subscribes to them again."""
        self._renewing: set[int] = set()
        """Contracts that wait for a new subscription, or for both sides of its first quote."""
        self._retired: deque[tuple[float, int]] = deque()
        """Numbers of cancelled subscriptions, whose last ticks may still arrive, and when they were cancelled."""
        self._watching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def listen(self, on_event: Callable[[BrokerEvent], None]) -> None:
        self._on_event = on_event

    def know(self, instruments: Collection[Instrument]) -> None:
        self._book.recall(instruments, self._clock.now())

    # ----- the session

    async def connect(self) -> Session:
        await self.close()
        result, ib = await connect(self._target, self.client_id, timeout=self._answer_within)
        if ib is None or result.cause is not None:
            if result.cause is None:
                raise BrokerError("a connection without a cause for its failure")
            raise ConnectError(result.cause, result.detail)
        self._ib = ib
        self._all_open_orders = SharedQuestion(partial(self._ask_for_open_orders, ib))
        self._held = {(held.account, held.contract.conId): number(held.position) for held in ib.positions()}
        self._next_id = result.next_order_id or 1
        ib.client.updateReqId(FIRST_QUESTION)  # type: ignore[no-untyped-call]  # ib_insync's, untyped
        # Orders must leave at once; the pace of everything else is kept here.
        ib.client.MaxRequests = 0
        ib.reqMarketDataType(LIVE)
        self._attach(ib)
        return Session(result.accounts, self._next_id)

    async def close(self) -> None:
        ib, self._ib = self._ib, None
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._refreshing is not None:
            # Its own question may be what ended the session; that must still be reported.
            if self._refreshing is not asyncio.current_task():
                self._refreshing.cancel()
            self._refreshing = None
        self._tickers.clear()
        self._wanted.clear()
        self._to_watch.clear()
        self._ended.clear()
        self._renewing.clear()
        self._retired.clear()
        self._orders.clear()
        self._shown = None
        self._all_open_orders = None
        if ib is not None:
            _fail_questions(ib)
            await close(ib)

    def _attach(self, ib: IB) -> None:
        """Receive the messages of this session. Each hook checks whether the session is still the present one."""

        def emit(event: BrokerEvent) -> None:
            if self._ib is ib:
                self._on_event(event)

        wrapper, decoder = ib.wrapper, ib.client.decoder
        open_order, exec_details, position = wrapper.openOrder, wrapper.execDetails, wrapper.position
        completed_order, order_status = wrapper.completedOrder, decoder.handlers[int(ORDER_STATUS)]
        stream = Stream(ib, start=self._start_quotes, end=self._end_quotes)

        def on_open_order(order_id: int, contract: Contract, order: Order, state: Any) -> None:
            open_order(order_id, contract, order, state)
            if order.whatIf:
                return
            again = self._order_shown(contract, order, state.status, emit)
            again()
            if order.permId:
                stream.repeat(("order", int(order.permId)), again)

        def on_completed_order(contract: Contract, order: Order, state: Any) -> None:
            completed_order(contract, order, state)
            done = wrapper._results["completedOrders"][-1]

            def again() -> None:
                wrapper._results["completedOrders"].append(done)

            stream.repeat(("completed", int(order.permId)), again)

        def on_order_status(fields: list[str]) -> None:
            order_status(fields)
            order_id, status, perm_id, client_id = int(fields[1]), fields[2], int(fields[6]), int(fields[9])
            ours = client_id == self.client_id and order_id > 0 and perm_id
            remaining, event = number(fields[4]), OrderReceived(order_id, perm_id, status, "") if ours else None
            # Before and after, as long as the order itself is the same.
            known: tuple[OpenOrder, OpenOrder] | None = None

            def again() -> None:
                nonlocal known
                shown = None if self._shown is None else self._shown.get(perm_id)
                if self._shown is not None and shown is not None:
                    if known is None or known[0] is not shown:
                        known = shown, _with(shown, status, remaining)
                    self._shown[perm_id] = known[1]
                    if shown.status == status:
                        # In an answer it follows on the order itself, which was reported in the same words.
                        return
                if event is not None:
                    emit(event)

            again()
            if perm_id:
                stream.repeat(("status", perm_id), again)

        def on_execution(request: int, contract: Contract, execution: Any) -> None:
            live = request not in wrapper._futures
            exec_details(request, contract, execution)
            found = execution_of(contract, execution, self._book.magnifier(contract.conId) or 1)
            if live and found is not None:
                ours = execution.clientId == self.client_id
                emit(ExecutionReceived(found, execution.orderId if ours else 0))

        def on_position(account: str, contract: Contract, quantity: float, average: float) -> None:
            share_texts(contract)
            position(account, contract, quantity, average)
            key, held = (account, contract.conId), number(quantity)
            event = None if kind_of(contract) is None else PositionReceived(*key, held)
            listed = wrapper.positions[account][contract.conId] if held else None
            shown = _ShownPosition(wrapper, self._held, key, held, listed, event, emit)
            shown.is_held()
            if held:
                stream.repeat(("position", *key), shown)
            else:
                stream.forget(("position", *key))

        def on_error(request: int, code: int, text: str, contract: Contract | None) -> None:
            order_id = request if request in self._orders else 0
            con_id = 0 if order_id else self._quoted_by(ib, request)
            if con_id and ends_quotes(code):
                # A tick that is still on its way must not pass for a live quote: only a new subscription gives one.
                self._unwatch(con_id)
                self._ended.add(con_id)
            emit(CodeReceived(code, text, order_id, con_id))

        def on_commission(_trade: object, _fill: object, report: Any) -> None:
            realized = number(report.realizedPNL) if report.realizedPNL else None
            emit(CommissionReceived(report.execId, number(report.commission), realized, report.currency))

        def on_closed(message: str) -> None:
            if self._ib is ib:
                self._ib = None
                self._on_event(Disconnected(message or "the gateway closed the connection"))

        for message in UNREAD:
            decoder.handlers[message] = _nothing
        wrapper.portfolio.clear()
        # The decoder reads these at each message.
        vars(wrapper).update(
            openOrder=on_open_order, execDetails=on_execution, position=on_position, completedOrder=on_completed_order
        )
        decoder.handlers[int(ORDER_STATUS)] = on_order_status
        stream.attach()
        ib.errorEvent += on_error
        ib.commissionReportEvent += on_commission
        ib.client.conn.disconnected += on_closed

    def _order_shown(
        self, contract: Contract, order: Order, status: str, emit: Callable[[BrokerEvent], None]
    ) -> Callable[[], None]:
        """What is to be done each time the broker shows this order in these words."""
        perm_id, order_id = int(order.permId), int(order.orderId)
        shown = OpenOrder(
            order.account,
            contract.conId,
            side_of(order.action),
            number(order.totalQuantity),
            perm_id,
            status,
            order.orderRef,
            int(order.clientId),
            order_id,
        )
        legs = ib_combos.legs_of(contract)
        ours = int(order.clientId) == self.client_id and perm_id and order_id > 0
        event = OrderReceived(order_id, perm_id, status, order.orderRef) if ours else None

        def again() -> None:
            if self._shown is not None and perm_id:
                self._shown[perm_id] = shown
                self._shown_legs[perm_id] = legs
            if event is not None:
                self._orders.add(order_id)
                emit(event)

        return again

    def _start_quotes(self) -> None:
        self._together = []

    def _end_quotes(self) -> None:
        quotes, self._together = self._together or [], None
        if self._ib is None:
            return
        if len(quotes) == 1:
            self._on_event(quotes[0])
        elif quotes:
            self._on_event(QuotesReceived(tuple(quotes)))

    def _session(self) -> IB:
        if self._ib is None:
            raise BrokerError("there is no session")
        return self._ib

    async def _ask(self, what: str, question: Callable[[IB], Awaitable[_T]]) -> _T:
        """One question of a kind at a time. Raises BrokerError; a question without an answer ends the session."""
        await self._pace.turn()
        async with self._asking[what]:
            return await self._answer(what, question)

    async def _answer(self, what: str, question: Callable[[IB], Awaitable[_T]]) -> _T:
        ib = self._session()
        try:
            async with asyncio.timeout(self._answer_within):
                return await question(ib)
        except TimeoutError as error:
            why = f"{what}: not answered within {self._answer_within:g} s"
            if self._ib is ib:
                await self.close()
                self._on_event(Disconnected(why))
            raise BrokerError(why) from error
        except (RequestError, ConnectionError) as error:
            raise BrokerError(f"{what}: {error}") from error

    # ----- what is asked

    async def positions(self) -> tuple[Position, ...]:
        held = [p for p in await self._ask("positions", lambda ib: ib.reqPositionsAsync()) if p.position]
        contracts = [p.contract for p in held if kind_of(p.contract) is not None]
        left_out = (p for p in held if kind_of(p.contract) is None)
        self._on_event(LeftOutReceived(tuple(_left_out(p.account, p.contract, number(p.position)) for p in left_out)))
        await self._details([contract for contract in contracts if self._book.lacks(contract)])
        old = [contract for contract in contracts if self._book.wants(contract, self._clock.now())]
        if old and self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh(self._session(), old))
        return tuple(
            Position(
                p.account,
                self._book.instrument(p.contract),
                number(p.position),
                _average(p.contract, number(p.avgCost)),
            )
            for p in held
            if kind_of(p.contract) is not None
        )

    async def _details(self, contracts: Collection[Contract]) -> None:
        """The details that are missing or about to run out, a few at a time. A contract without them is still held."""
        ib = self._session()
        wanted = [contract for contract in contracts if self._book.wants(contract, self._clock.now())]

        async def request_details(contract: Contract) -> None:
            await self._pace.turn()
            asked = ib.reqContractDetailsAsync(Contract(conId=contract.conId))
            async with asyncio.timeout(self._answer_within):
                found = await asked
            if found:
                self._book.learn(found[0], self._clock.now())
            else:
                self._book.unknown(contract, self._clock.now())

        for first in range(0, len(wanted), 20):
            part = wanted[first : first + 20]
            outcomes = await asyncio.gather(*map(request_details, part), return_exceptions=True)
            for contract, error in zip(part, outcomes, strict=True):
                if isinstance(error, (RequestError, TimeoutError, ConnectionError)):
                    _log.warning("no details of contract %s: %s", contract.conId, error or "not answered in time")
                    self._book.unknown(contract, self._clock.now())
                elif error is not None:
                    raise error
        for rule in self._book.missing_rules():
            steps = await self._ask(f"market rule {rule}", partial(_market_rule, rule))
            self._book.rules[rule] = steps or ()

    async def _refresh(self, ib: IB, contracts: list[Contract]) -> None:
        """Request again the details of contracts whose known details are sufficient in the meantime."""
        try:
            for first in range(0, len(contracts), REFRESHED_AT_ONCE):
                await self._details(contracts[first : first + REFRESHED_AT_ONCE])
                if self._ib is not ib:
                    return
                self._on_event(DetailsReceived())
        except BrokerError as error:
            _log.warning("the details of contracts are not all known yet: %s", error)
        finally:
            if self._ib is ib:
                self._refreshing = None

    async def open_orders(self) -> tuple[OpenOrder, ...]:
        await self._pace.room()
        return await self._next_open_orders()

    async def _next_open_orders(self) -> tuple[OpenOrder, ...]:
        """From an answer to a question that is not sent yet."""
        if self._all_open_orders is None:
            raise BrokerError("there is no session")
        return await self._all_open_orders.answer()

    async def _ask_for_open_orders(self, ib: IB) -> tuple[OpenOrder, ...]:
        if self._ib is not ib:
            raise BrokerError("open orders: the session is over")
        self._pace.count_request()
        return await self._answer("open orders", self._open_orders)

    async def _open_orders(self, ib: IB) -> tuple[OpenOrder, ...]:
        """From the messages of this answer alone; ib_insync's own books have its own conclusions in them."""
        self._shown, self._shown_legs = {}, {}
        try:
            await ib.reqAllOpenOrdersAsync()
            live = [order for order in self._shown.values() if order.remaining > 0]
            return tuple(leg for order in live for leg in ib_combos.by_leg(order, self._shown_legs[order.perm_id]))
        finally:
            self._shown = None

    async def completed_orders(self) -> tuple[CompletedOrder, ...]:
        trades = await self._ask("completed orders", lambda ib: ib.reqCompletedOrdersAsync(False))
        return tuple(completed_of(trade) for trade in trades)

    async def executions(self) -> tuple[Execution, ...]:
        fills = await self._ask("executions", lambda ib: ib.reqExecutionsAsync(ExecutionFilter()))
        found = (
            execution_of(fill.contract, fill.execution, self._book.magnifier(fill.contract.conId) or 1)
            for fill in fills
        )
        return tuple(execution for execution in found if execution is not None)

    async def read_again(self, account: str, con_id: int) -> Reread:
        """Positions are a subscription, and one socket preserves the order of its messages: everything that the gateway
        had to report about the position before it answered with the open orders has been read when that answer arrives.
        One answer serves all requests that arrive before its question is sent."""
        time = self._clock.now()
        await self._pace.order_turn()
        orders = await self._next_open_orders()
        return Reread(time, self._held.get((account, con_id), Decimal(0)), orders)

    async def account_values(self) -> tuple[AccountValues, ...]:
        """Apart from all other questions: an order must not wait for it, and its number distinguishes its answer from
        others."""
        await self._pace.turn()
        self._pace.count_request()
        return await ask_values(self._session(), self._clock.now(), self._answer_within)

    async def dividend(self, con_id: int) -> Dividend | None:
        """Beside all other questions, as account values."""
        for _ in range(3):
            await self._pace.turn()
        return await ask_dividend(self._session(), con_id, self._answer_within)

    async def read_legs_again(self, account: str, con_ids: Collection[int]) -> Mapping[int, Reread]:
        time = self._clock.now()
        await self._pace.order_turn()
        orders = await self._next_open_orders()
        return {con_id: Reread(time, self._held.get((account, con_id), Decimal(0)), orders) for con_id in con_ids}

    async def ping(self) -> None:
        await self._ask("time", lambda ib: ib.reqCurrentTimeAsync())

    # ----- quotes

    def watch(self, instruments: Collection[Instrument], *, resubscribe: bool = False) -> None:
        if self._ib is None:
            return
        if resubscribe:
            self._ended.clear()
            self._renewing.clear()
            for con_id in list(self._tickers):
                self._unwatch(con_id)
        self._wanted = {instrument.con_id: instrument for instrument in instruments}
        for con_id in self._tickers.keys() - self._wanted.keys():
            self._unwatch(con_id)
        self._ended &= self._wanted.keys()
        self._renewing &= self._wanted.keys()
        renewals = [con_id for con_id in self._to_watch if con_id in self._renewing]
        missing = (con_id for con_id in self._wanted if con_id not in self._tickers and con_id not in self._ended)
        self._to_watch = deque(dict.fromkeys((*missing, *renewals)))
        self._subscribe_soon(self._ib)

    def renew(self, con_ids: Collection[int]) -> None:
        if self._ib is None:
            return
        waiting = set(self._to_watch)
        for con_id in con_ids:
            if con_id in self._wanted and con_id not in waiting:
                self._ended.discard(con_id)
                self._renewing.add(con_id)
                self._to_watch.append(con_id)
        self._subscribe_soon(self._ib)

    def _subscribe_soon(self, ib: IB) -> None:
        if self._to_watch and (self._watching is None or self._watching.done()):
            self._watching = asyncio.get_running_loop().create_task(self._subscribe(ib))

    async def _subscribe(self, ib: IB) -> None:
        while self._to_watch and self._ib is ib:
            await self._pace.turn()
            if not self._to_watch or self._ib is not ib:
                return
            con_id = self._to_watch.popleft()
            contract = self._book.contract(con_id)
            if contract is None or (con_id in self._tickers and con_id not in self._renewing):
                continue
            if con_id in self._tickers:
                self._pace.count_request()
                self._unwatch(con_id)
            # ib_insync gives one ticker for each object, and a new subscription must not show an old one's prices.
            ticker = ib.reqMktData(copy.copy(contract))
            self._tickers[con_id] = ticker
            ticker.updateEvent += partial(self._ticked, ib, con_id)

    def _unwatch(self, con_id: int) -> None:
        ticker = self._tickers.pop(con_id)
        ticker.updateEvent.clear()
        ib = self._ib
        if ib is None or ticker.contract is None:
            return
        wrapper, now = ib.wrapper, asyncio.get_running_loop().time()
        self._retired.append((now, wrapper.ticker2ReqId["mktData"].get(ticker, 0)))
        ib.cancelMktData(ticker.contract)
        # ib_insync keeps every ticker for ever. Those of numbers that may still be named must stay for a while.
        wrapper.tickers.pop(id(ticker.contract), None)
        while self._retired and now - self._retired[0][0] > RETIRED_FOR:
            wrapper.reqId2Ticker.pop(self._retired.popleft()[1], None)

    def _quoted_by(self, ib: IB, request: int) -> int:
        """The contract whose present subscription has this number; 0 if none has."""
        ticker = ib.wrapper.reqId2Ticker.get(request)
        contract = None if ticker is None else ticker.contract
        known = contract is not None and self._tickers.get(contract.conId) is ticker
        return contract.conId if known and contract is not None else 0

    def _ticked(self, ib: IB, con_id: int, ticker: Ticker) -> None:
        if con_id in self._renewing:
            # A tick of the subscription that is about to be replaced proves nothing.
            if con_id in self._to_watch or math.isnan(ticker.bid) or math.isnan(ticker.ask):
                return
            self._renewing.discard(con_id)
        if self._ib is ib and con_id in self._wanted:
            live, magnifier = ticker.marketDataType == LIVE, self._book.magnifier(con_id)
            event = QuoteReceived(con_id, quote_of(ticker, self._clock.now(), live=live, magnifier=magnifier))
            if self._together is None:
                self._on_event(event)
            else:
                self._together.append(event)

    # ----- orders

    def next_order_id(self) -> int:
        return self._next_id

    def send(self, order: OrderToSend, instrument: Instrument, *, tif: str, outside_rth: bool) -> None:
        ib = self._session()
        contract = self._book.contract(order.con_id)
        if contract is None:
            raise BrokerError(f"contract {order.con_id} is not known")
        magnifier = self._book.magnifier(order.con_id)
        if not magnifier:
            raise BrokerError(f"the unit of the prices of contract {order.con_id} is not known: IB reports no details")
        terms: dict[str, Any] = {
            "orderId": order.order_id,
            "account": order.account,
            "tif": tif,
            "outsideRth": outside_rth,
            "orderRef": order.ref,
            "ocaGroup": order.oca_group,
            "ocaType": order.oca_type,
            "transmit": True,
        }
        quantity, limit = float(order.quantity), float(order.limit * magnifier)
        native: Order
        if order.stop:
            native = StopLimitOrder(order.side.value, quantity, limit, float(order.stop * magnifier), **terms)
        else:
            native = LimitOrder(order.side.value, quantity, limit, **terms)
        self._orders.add(order.order_id)
        self._next_id = max(self._next_id, order.order_id + 1)
        # Not over IB.placeOrder: its books are not used, and they cost more than the order. They start with openOrder.
        ib.client.placeOrder(order.order_id, contract, native)  # type: ignore[no-untyped-call]  # ib_insync's, untyped

    def send_combo(
        self, order: ComboToSend, instruments: Mapping[int, Instrument], *, tif: str, outside_rth: bool
    ) -> None:
        ib = self._session()
        legs = [(self._book.contract(con_id), ratio) for con_id, ratio in order.legs]
        magnifiers = {self._book.magnifier(con_id) for con_id, _ in order.legs}
        if len(magnifiers) != 1 or 0 in magnifiers:
            raise BrokerError(f"the legs of combination {order.ref} have no common unit of prices")
        contract = ib_combos.bag(order, [(leg, ratio) for leg, ratio in legs if leg is not None])
        limit = float(order.limit * magnifiers.pop())
        native = LimitOrder(
            order.side.value,
            float(order.quantity),
            limit,
            orderId=order.order_id,
            account=order.account,
            tif=tif,
            outsideRth=outside_rth,
            orderRef=order.ref,
            transmit=True,
        )
        self._orders.add(order.order_id)
        self._next_id = max(self._next_id, order.order_id + 1)
        ib.placeOrder(contract, native)

    def cancel(self, order_id: int) -> None:
        ib = self._session()
        self._pace.count_request()
        ib.client.cancelOrder(order_id, "")  # type: ignore[no-untyped-call]  # ib_insync's, untyped

    async def cancel_of_other(self, order: OpenOrder) -> None:
        self._session()
        if order.client_id == self.client_id:
            raise BrokerError(f"order {order.order_id} is one of this client")
        # A new session of client 0 is shown the orders that were entered by hand, with ids to cancel them by.
        result, ib = await connect(self._target, order.client_id, timeout=self._answer_within)
        if ib is None:
            cause = "no session" if result.cause is None else result.cause.text
            raise BrokerError(f"no session as client {order.client_id}: {cause} ({result.detail})")
        try:
            shown = (trade.order for trade in ib.openTrades() if trade.order.permId == order.perm_id)
            found = next((one for one in shown if one.orderId and one.clientId == order.client_id), None)
            if found is None:
                raise BrokerError(f"the gateway shows client {order.client_id} no order with permId {order.perm_id}")
            ib.client.cancelOrder(found.orderId, "")  # type: ignore[no-untyped-call]  # ib_insync's, untyped
            try:
                # The gateway answers in order: it has read the cancel when it answers.
                async with asyncio.timeout(self._answer_within):
                    await ib.reqCurrentTimeAsync()
            except (TimeoutError, RequestError, ConnectionError) as error:
                _log.warning("the cancel of order %s is not confirmed: %s", order.perm_id, error or "no answer")
        finally:
            await close(ib)


async def _market_rule(rule: int, ib: IB) -> Any:
    return await ib.reqMarketRuleAsync(rule)


def _fail_questions(ib: IB) -> None:
    """Pending questions of a session that is being closed will not be answered; ib_insync leaves them open."""
    for future in list(ib.wrapper._futures.values()):
        if not future.done():
            future.set_exception(ConnectionError("the session is over"))


@dataclass(frozen=True, slots=True)
class _ShownPosition:
    """What is to be done each time the broker shows a position in these words. ``listed``: as ib_insync stores it, a
    part of the answer if positions were asked for. There is one for each of a thousand positions."""

    wrapper: Any
    quantities: dict[tuple[str, int], Decimal]
    key: tuple[str, int]
    held: Decimal
    listed: object
    event: PositionReceived | None
    emit: Callable[[BrokerEvent], None]

    def __call__(self) -> None:
        results = self.wrapper._results.get("positions")
        if results is not None:
            results.append(self.listed)
        self.is_held()

    def is_held(self) -> None:
        self.quantities[self.key] = self.held
        if "positions" not in self.wrapper._futures and self.event is not None:
            self.emit(self.event)


def _average(contract: Contract, cost: Decimal) -> Decimal:
    """Per unit. Only a future's may be below 0."""
    return (cost if contract.secType == Kind.FUTURE.value else abs(cost)) / per_unit(contract)


def _left_out(account: str, contract: Contract, quantity: Decimal) -> LeftOut:
    label = contract.localSymbol or contract.symbol or f"contract {contract.conId}"
    return LeftOut(account, contract.conId, label, contract.secType, quantity, contract.currency)


def _nothing(_fields: list[str]) -> None:
    """A message that is not decoded."""


def _nobody(_event: BrokerEvent) -> None:
    """Until somebody listens."""


def _with(order: OpenOrder, status: str, remaining: Decimal) -> OpenOrder:
    return OpenOrder(
        order.account, order.con_id, order.side, remaining, order.perm_id, status, order.ref, order.client_id,
        order.order_id,
    )  # fmt: skip
