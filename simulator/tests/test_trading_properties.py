"""What holds after any sequence of orders, changes, cancels, prices, halts, time and restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator.tests.trading_desk import AAPL, ACCOUNT, MONDAY_MORNING, MSFT, Desk, order

from gateway_simulator.trading import events
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.model import Contract, Halted, Order, OrderStatus
from gateway_simulator.trading.persistence import restore, to_document
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.statelog import StateLog, load

LEGAL = {
    None: {"PreSubmitted", "Submitted", "Inactive", "Cancelled"},
    "PreSubmitted": {"PreSubmitted", "Submitted", "PendingCancel", "Cancelled", "Filled", "Inactive"},
    "Submitted": {"PreSubmitted", "Submitted", "PendingCancel", "Cancelled", "Filled", "Inactive"},
    "PendingCancel": {"Cancelled"},
    "Cancelled": set(),
    "Filled": {"Filled"},
    "Inactive": {"Inactive"},
}
"""Which status may follow which; None is an order that was never reported. The last three are final:
both openOrder and orderStatus report them."""
SYMBOLS = {AAPL: "AAPL", MSFT: "MSFT"}
TYPES = ("MKT", "LMT", "STP", "STP LMT", "TRAIL", "TRAIL LIMIT", "MIT", "LIT", "MOC", "LOC")

Step = tuple[str, Any]

cents = st.integers(18600, 19400).map(lambda value: Decimal(value) / 100)
orders = st.fixed_dictionaries(
    {
        "con_id": st.sampled_from(sorted(SYMBOLS)),
        "action": st.sampled_from(["BUY", "SELL"]),
        "quantity": st.sampled_from([1, 5, 20, 100, 300, 900]),
        "order_type": st.sampled_from(("MKT", "LMT", *TYPES)),
        "limit_price": cents,
        "aux_price": cents,
        "time_in_force": st.sampled_from(["DAY", "GTC", "GTC", "IOC", "FOK"]),
        "transmit": st.sampled_from([True, True, True, True, True, False]),
        "parent": st.sampled_from([False, False, False, True]),
        "oca_group": st.sampled_from(["", "", "", "one"]),
        "client_id": st.integers(1, 2),
        "all_or_none": st.sampled_from([False, False, True]),
    }
)
changes = st.fixed_dictionaries(
    {
        "pick": st.integers(0, 30),
        "quantity": st.sampled_from([1, 20, 100, 900]),
        "limit_price": cents,
        "aux_price": cents,
    }
)
symbols = st.sampled_from(sorted(SYMBOLS))
WHAT: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "place": (9, orders),
    "change": (3, changes),
    "cancel": (2, st.integers(0, 30)),
    "cancel all": (1, st.none()),
    "price": (7, st.tuples(symbols, cents, st.integers(1, 40))),
    "release": (1, symbols),
    "halt": (1, symbols),
    "resume": (1, symbols),
    "wait": (7, st.sampled_from([0.03, 0.05, 0.25, 1.0, 3.0])),
    "a day": (1, st.none()),
}
"""Each step's weight, and what it takes."""
steps: st.SearchStrategy[Step] = st.sampled_from(
    [kind for kind, (weight, _) in WHAT.items() for _ in range(weight)]
).flatmap(lambda kind: st.tuples(st.just(kind), WHAT[kind][1]))
sequences = st.lists(steps, min_size=20, max_size=50)
BOUNDED = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


@dataclass
class Witness:
    """Receives every event, as a client would, and fails on impossible ones."""

    brokerage: Brokerage
    restarts: bool = False
    known: dict[tuple[int, int], Order] = field(default_factory=dict)
    execs: set[str] = field(default_factory=set)
    expected: dict[int, Decimal] = field(default_factory=dict)
    cash: Decimal = Decimal(0)
    now: Any = MONDAY_MORNING
    ids: int = 0

    def __post_init__(self) -> None:
        self.brokerage.advance(self.now)
        self.cash = self.brokerage.accounts[ACCOUNT].cash
        self.expected = {con_id: self.held(con_id) for con_id in SYMBOLS}

    def held(self, con_id: int) -> Decimal:
        position = self.brokerage.accounts[ACCOUNT].positions.get(con_id)
        return position.quantity if position is not None else Decimal(0)

    def do(self, step: Step) -> None:
        """Do a step, handle its events, and check the accounts."""
        if self.restarts:
            self.restart()
        kind, what = step
        market = self.brokerage.market
        match kind:
            case "place":
                self.place(what)
            case "change":
                self.change(what)
            case "cancel":
                client_id, order_id = self.picked(what)
                self.on_events(self.brokerage.cancel(client_id, order_id, self.now))
            case "cancel all":
                self.on_events(self.brokerage.global_cancel(1, self.now))
            case "price":
                con_id, price, spread = what
                half = Decimal(spread) / 100
                market.set_price(SYMBOLS[con_id], self.now, bid=price - half, ask=price + half, last=price)
                self.on_events(self.brokerage.advance(self.now))
            case "release" if str(what) in market.scripted()["prices"]:
                if market.scripted()["prices"][str(what)][-1][1] is not None:
                    market.release(SYMBOLS[what], self.now)
            case "halt":
                market.halt(SYMBOLS[what], Halted.GENERAL)
            case "resume" if str(what) in market.scripted()["halted"]:
                market.resume(SYMBOLS[what])
            case "wait":
                self.wait(what)
            case "a day":
                self.wait(86_400)
        self.check()

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.on_events(self.brokerage.advance(self.now))

    def picked(self, number: int) -> tuple[int, int]:
        keys = sorted(self.known)
        return keys[number % len(keys)] if keys else (1, 999)

    def place(self, terms: dict[str, Any]) -> None:
        self.ids += 1
        terms = dict(terms)
        client_id, con_id = terms.pop("client_id"), terms.pop("con_id")
        parents = [key[1] for key in self.known if key[0] == client_id]
        parent = parents[-1] if terms.pop("parent") and parents else 0
        if terms["order_type"] not in ("MKT", "LMT") and terms["time_in_force"] in ("IOC", "FOK"):
            terms["time_in_force"] = "GTC"
        if terms["order_type"] in ("MOC", "LOC"):
            terms["time_in_force"] = "DAY"
        if terms["order_type"] in ("TRAIL", "TRAIL LIMIT"):
            terms["aux_price"], terms["limit_price_offset"] = Decimal(2), Decimal("0.5")
        terms["oca_type"] = 1
        placed = order(self.ids, contract=Contract(con_id, SYMBOLS[con_id]), parent_id=parent, **terms)
        self.on_events(self.brokerage.place(client_id, placed, self.now))

    def change(self, terms: dict[str, Any]) -> None:
        client_id, order_id = self.picked(terms["pick"])
        known = self.brokerage.find_order(client_id, order_id)
        if known is not None:
            trails = known.order_type in ("TRAIL", "TRAIL LIMIT")
            asked = replace(
                known,
                quantity=Decimal(terms["quantity"]),
                limit_price=terms["limit_price"],
                aux_price=known.aux_price if trails else terms["aux_price"],
            )
            self.on_events(self.brokerage.place(client_id, asked, self.now))

    def on_events(self, reported: list[events.Event]) -> None:
        for event in reported:
            match event:
                case events.OrderOpened(shown) | events.OrderStatusChanged(shown):
                    self.on_order(shown)
                case events.OrderFilled(shown, execution):
                    assert execution.exec_id not in self.execs
                    self.execs.add(execution.exec_id)
                    self.on_fill(shown, execution.shares, execution.price, execution.commission)
                case _:
                    pass

    def on_order(self, shown: Order) -> None:
        key = shown.client_id, shown.order_id
        before = self.known.get(key)
        status = before.status.value if before is not None else None
        assert shown.status.value in LEGAL[status], (status, shown.status)
        if before is not None:
            assert shown.perm_id == before.perm_id
            assert shown.filled >= before.filled
        assert shown.filled <= shown.quantity
        assert (shown.status is OrderStatus.FILLED) == (shown.filled == shown.quantity)
        self.known[key] = shown

    def on_fill(self, shown: Order, shares: Decimal, price: Decimal, commission: Decimal) -> None:
        before = self.known[shown.client_id, shown.order_id]
        assert before.status in (OrderStatus.SUBMITTED, OrderStatus.PRE_SUBMITTED)
        assert shares > 0
        assert before.filled + shares == shown.filled <= shown.quantity
        buys = shown.action == "BUY"
        if shown.order_type in ("LMT", "STP LMT", "TRAIL LIMIT", "LIT", "LOC"):
            assert shown.limit_price is not None
            assert price <= shown.limit_price if buys else price >= shown.limit_price
        con_id = shown.contract.con_id
        signed = shares if buys else -shares
        self.expected[con_id] += signed
        self.cash -= signed * price + commission
        self.known[shown.client_id, shown.order_id] = replace(before, filled=shown.filled)

    def check(self) -> None:
        account = self.brokerage.accounts[ACCOUNT]
        assert account.cash == self.cash
        assert {con_id: self.held(con_id) for con_id in SYMBOLS} == self.expected
        for each in self.brokerage.orders:
            assert each.remaining > 0
            assert self.known[each.client_id, each.order_id].status is each.status
        group = {
            key: shown for key, shown in self.known.items() if shown.oca_group == "one" and shown.status.value in LEGAL
        }
        filled = [shown for shown in group.values() if shown.filled and shown.status is not OrderStatus.CANCELLED]
        working = {(each.client_id, each.order_id) for each in self.brokerage.orders if each.oca_group == "one"}
        if any((shown.client_id, shown.order_id) in working for shown in filled):
            assert len(working) == 1

    def restart(self) -> None:
        """Continue with another brokerage that has nothing but this one's document."""
        document = json.loads(json.dumps(to_document(self.brokerage)))
        fresh = sample_brokerage(now=MONDAY_MORNING, settings=self.brokerage.settings)
        restore(fresh, document)
        assert to_document(fresh) == to_document(self.brokerage)
        fresh.journal = self.brokerage.journal
        self.brokerage = fresh


def run(sequence: list[Step], *, restarts: bool = False, random_partials: bool = False) -> list[str]:
    """Do the steps on a fresh desk under a witness; return the journal."""
    desk = Desk(random_partials=random_partials, fine_span=timedelta(seconds=5))
    desk.account.cash = Decimal(500_000)
    desk.price("189.50", "189.60", name="MSFT")
    witness = Witness(desk.brokerage, restarts=restarts)
    for step in sequence:
        witness.do(step)
    return list(witness.brokerage.journal)


def transmitted(sequence: list[Step]) -> list[Step]:
    """The same steps with every order transmitted: no restart knows those that are not."""
    return [(kind, {**what, "transmit": True} if kind == "place" else what) for kind, what in sequence]


@BOUNDED
@given(sequences, st.booleans())
def test_money_and_shares_are_conserved_and_orders_live_as_they_may(sequence: list[Step], partials: bool) -> None:
    run(sequence, random_partials=partials)


@settings(BOUNDED, max_examples=12)
@given(sequences)
def test_the_same_requests_give_the_same_journal(sequence: list[Step]) -> None:
    assert run(sequence, random_partials=True) == run(sequence, random_partials=True)


@settings(BOUNDED, max_examples=12)
@given(sequences)
def test_a_restart_anywhere_changes_nothing_that_follows(sequence: list[Step]) -> None:
    sequence = transmitted(sequence)
    assert run(sequence, restarts=True) == run(sequence)


@settings(BOUNDED, max_examples=12)
@given(sequences)
def test_the_log_holds_the_state_after_each_step(sequence: list[Step]) -> None:
    desk = Desk(fine_span=timedelta(seconds=5))
    witness = Witness(desk.brokerage)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "state.json"
        log = StateLog(path, desk.brokerage)
        for number, step in enumerate(sequence):
            witness.do(step)
            log.store()
            if number % 5 == 4:
                fresh = sample_brokerage(now=MONDAY_MORNING, settings=desk.settings)
                assert load(path, fresh)
                assert to_document(fresh) == to_document(desk.brokerage)
                assert [each.order_id for each in fresh.orders] == [each.order_id for each in desk.brokerage.orders]
        log.close()


def test_the_witness_complains_of_what_cannot_be() -> None:
    desk = Desk()
    witness = Witness(desk.brokerage)
    witness.do(("place", _market_order()))
    witness.do(("wait", 1.0))
    done = witness.known[1, 1]
    assert done.status is OrderStatus.FILLED
    with pytest.raises(AssertionError):
        witness.on_events([events.OrderStatusChanged(replace(done, status=OrderStatus.SUBMITTED))])
    desk.account.cash += 1
    with pytest.raises(AssertionError):
        witness.check()


def _market_order() -> dict[str, Any]:
    return {
        "con_id": AAPL,
        "client_id": 1,
        "parent": False,
        "action": "BUY",
        "quantity": 5,
        "order_type": "MKT",
        "time_in_force": "DAY",
    }
