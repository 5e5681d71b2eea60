"""A brokerage's state goes through a file unchanged, and nothing is restored of a file that does not fit."""

from __future__ import annotations

import copy
import io
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from simulator.tests.trading_desk import AAPL, MONDAY_MORNING, Desk, order, reported

from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.conditions import PRICE
from gateway_simulator.trading.model import Bulletin, ComboLeg, Condition, Contract, Halted
from gateway_simulator.trading.persistence import StateFileError, restore, save, to_document
from gateway_simulator.trading.sample import sample_brokerage
from gateway_simulator.trading.statelog import StateLog, load, log_of

APPLE = str(AAPL)


def busy_desk() -> Desk:
    """A desk with something of everything."""
    desk = Desk()
    desk.place(order(1))
    desk.wait()
    desk.place(
        order(2, order_type="LMT", limit_price="180", transmit=False),
        order(3, "SELL", order_type="LMT", limit_price="195", parent_id=2, transmit=False),
        order(4, "SELL", order_type="TRAIL", trailing_percent="5", parent_id=2),
        order(5, "SELL", 100, "TRAIL", aux_price="3", time_in_force="GTC"),
        order(6, quantity=100_000),
        order(9, transmit=False),
    )
    desk.wait()
    desk.brokerage.bulletins.append(Bulletin(1, 1, "Early"))
    desk.brokerage.market.halt("MSFT", Halted.GENERAL)
    return desk


def fresh() -> Brokerage:
    return sample_brokerage(now=MONDAY_MORNING)


def test_a_file_holds_everything_but_what_was_never_transmitted(tmp_path: Path) -> None:
    desk, path, other = busy_desk(), tmp_path / "state.json", fresh()
    save(path, desk.brokerage)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)
    assert other.orders == desk.brokerage.orders
    assert [each.order_id for each in other.orders] == [2, 3, 4, 5]
    assert other.accounts == desk.brokerage.accounts
    assert other.executions == desk.brokerage.executions
    assert other.next_order_id(1) == 10
    assert other.market.quote(AAPL, desk.now).bid == desk.brokerage.market.quote(AAPL, desk.now).bid


def test_a_cancel_that_was_on_its_way_has_arrived_after_a_restart(tmp_path: Path) -> None:
    desk, other = Desk(cancel_latency=timedelta(hours=1)), fresh()
    desk.place(order(1, order_type="LMT", limit_price="180"))
    desk.wait()
    desk.cancel(1)
    save(tmp_path / "state.json", desk.brokerage)
    assert load(tmp_path / "state.json", other)
    assert reported(other.advance(desk.now)) == ["status 1 Cancelled 0", "error 1 202"]


def test_without_a_file_a_brokerage_stays_as_it_is(tmp_path: Path) -> None:
    other = fresh()
    before = to_document(other)
    assert not load(tmp_path / "none.json", other)
    assert to_document(other) == before


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def damage(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return damage


def _remove(*path: Any) -> Callable[[dict[str, Any]], None]:
    def damage(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return damage


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (_set("format", to="something"), "format"),
        (_set("version", to=2), "version"),
        (_set("market", to=None), "market"),
        (_set("market", "prices", APPLE, to=[["yesterday", None]]), "market"),
        (_set("mode", to="live"), "state.mode"),
        (_set("seed", to=2), "state.seed"),
        (_set("trading_hours", to="exchange"), "state.trading_hours"),
        (_set("seed", to=True), "state.seed"),
        (_set("now", to=None), "state.now"),
        (_set("now", to="2026-11-23T15:00:00"), "state.now"),
        (_remove("counters"), "state.counters"),
        (_set("surplus", to=1), "state.surplus"),
        (_set("accounts", 0, "cash", to="much"), "state.accounts[0].cash"),
        (_set("accounts", 0, "cash", to="Infinity"), "state.accounts[0].cash"),
        (_set("accounts", 0, "cash", to=5.5), "state.accounts[0].cash"),
        (_set("accounts", 0, "positions", "x", to={}), "state.accounts[0].positions.x"),
        (
            _set("accounts", 0, "positions", str(AAPL), "contract", "con_id", to=5),
            f"state.accounts[0].positions.{AAPL}",
        ),
        (_set("accounts", to={}), "state.accounts"),
        (_set("working", 0, "con_id", to=5), "state.working[0].con_id"),
        (_set("working", 0, "order", "status", to="Lost"), "state.working[0].order.status"),
        (_set("working", 0, "order", "account", to="DU9"), "state.working[0].order.account"),
        (_set("working", 1, "order", "order_id", to=2), "state.working[1].order.order_id"),
        (_set("working", 0, "order", "filled", to="10"), "state.working[0].order.filled"),
        (_remove("working", 0, "order", "perm_id"), "state.working[0].order.perm_id"),
    ],
)
def test_a_damaged_or_foreign_document_restores_nothing(
    damage: Callable[[dict[str, Any]], None], field: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "state.json", fresh()
    document = json.loads(json.dumps(to_document(busy_desk().brokerage)))
    damage(document)
    path.write_text(json.dumps(document))
    before = to_document(other)
    with pytest.raises(StateFileError) as caught:
        load(path, other)
    assert caught.value.field == field
    assert str(path) in str(caught.value)
    assert "Move the file away" in str(caught.value)
    assert to_document(other) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\ud800"])
def test_a_file_that_is_no_document_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StateFileError, match=r"state\.json"):
        load(path, fresh())


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gateway_simulator.trading.persistence.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, fresh())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_brokerage_that_never_received_the_time_can_be_stored_too() -> None:
    document = to_document(fresh())
    other = fresh()
    restore(other, document)
    assert other.now is None
    assert to_document(other) == document


def test_a_stop_that_was_triggered_stays_so_over_a_restart(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "state.json"
    desk.place(order(1, "SELL", order_type="STP LMT", aux_price="185", limit_price="184.5"))
    desk.price("180", "180.1")
    desk.wait()
    save(path, desk.brokerage)
    desk.brokerage = fresh()
    load(path, desk.brokerage)
    desk.price("186", "186.1")
    assert desk.wait()[0] == "fill 1 10@186"


def test_a_file_of_an_older_simulator_is_read(tmp_path: Path) -> None:
    desk, path, other = busy_desk(), tmp_path / "state.json", fresh()
    document = json.loads(json.dumps(to_document(desk.brokerage)))
    del document["added"], document["splits"], document["cancels_held"]
    del document["market"]["silences"], document["market"]["hours"]
    for account in document["accounts"]:
        del account["balances"], account["exchange_rates"]
    for execution in document["executions"]:
        del execution["commission_currency"]
    for working in document["working"]:
        del working["conditions_met"]
    for each in (*(each["order"] for each in document["working"]), *document["completed_orders"]):
        del each["algo_strategy"], each["algo_params"], each["combo_params"], each["leg_averages"]
        del each["conditions"], each["conditions_ignore_rth"], each["conditions_cancel"], each["contract"]["combo_legs"]
    path.write_text(json.dumps(document))
    assert load(path, other)
    expected = to_document(desk.brokerage)
    for execution in expected["executions"]:
        execution["commission_currency"] = ""  # the contract's
    assert to_document(other) == expected


def test_a_condition_on_a_contract_that_is_gone_is_refused_by_its_place(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "state.json"
    condition = Condition(PRICE, value=Decimal(1), con_id=AAPL)
    desk.place(order(1, order_type="LMT", limit_price="180", conditions=(condition,)))
    save(path, desk.brokerage)
    document = json.loads(path.read_text())
    document["working"][0]["order"]["conditions"][0]["con_id"] = 999
    path.write_text(json.dumps(document))
    with pytest.raises(StateFileError, match="999, which is not in the catalog") as caught:
        load(path, fresh())
    assert caught.value.field == "state.working[0].order.conditions[0].con_id"


# The log of what has changed since a snapshot.


def test_a_log_holds_what_changed_since_the_snapshot(tmp_path: Path) -> None:
    desk, path, other = Desk(), tmp_path / "state.json", fresh()
    log = StateLog(path, desk.brokerage)
    log.store()
    snapshot = path.read_bytes()
    desk.place(order(1), order(2, order_type="LMT", limit_price="180"))
    log.store()
    desk.wait()
    log.store()
    desk.cancel(2)
    log.store()
    log.store()
    assert path.read_bytes() == snapshot
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, log_of(path))] == [0o600] * 2
    assert len(log_of(path).read_text().splitlines()) == 4  # the header, and a line for each change
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)


def test_a_log_that_has_grown_becomes_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_simulator.trading.statelog.LEAST_COMPACTED", 0)
    desk, path, other = Desk(), tmp_path / "state.json", fresh()
    log = StateLog(path, desk.brokerage)
    log.store()
    sizes = []
    for number in range(1, 30):
        desk.place(order(number, quantity=1))
        desk.wait()
        log.store()
        sizes.append(log_of(path).stat().st_size)
    assert any(after < before for before, after in pairwise(sizes))
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)


def test_a_line_that_the_file_takes_in_parts_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Parts(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:100])

    desk, path, other = Desk(), tmp_path / "state.json", fresh()
    log = StateLog(path, desk.brokerage)
    log.store()
    log.close()
    monkeypatch.setattr(log, "_log", Parts(log_of(path), "ab"))
    desk.place(order(1, order_type="LMT", limit_price="180"))
    log.store()
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)


def test_a_line_that_was_cut_off_and_a_log_of_another_snapshot_are_not_read(tmp_path: Path) -> None:
    desk, path, other = Desk(), tmp_path / "state.json", fresh()
    log = StateLog(path, desk.brokerage)
    log.store()
    desk.place(order(1, order_type="LMT", limit_price="180"))
    log.store()
    kept = to_document(desk.brokerage)
    desk.place(order(2, order_type="LMT", limit_price="181"))
    log.store()
    log_of(path).write_bytes(log_of(path).read_bytes()[:-10])
    assert load(path, other)
    assert [each.order_id for each in other.orders] == [1]
    assert to_document(other)["working"] == kept["working"]
    save(path, desk.brokerage, "another")
    assert load(path, other)
    assert to_document(other) == to_document(desk.brokerage)


def facts(brokerage: Brokerage) -> tuple[Any, ...]:
    """What a fill and a split change, as it is now."""
    changed = brokerage.accounts, brokerage.executions, brokerage.orders, brokerage.completed_orders
    return copy.deepcopy((*changed, brokerage.catalog.splits))


def test_a_kill_leaves_a_combination_and_a_split_whole_or_undone(tmp_path: Path) -> None:
    desk, path = Desk(), tmp_path / "state.json"
    near, far = (desk.option(strike=strike).contract for strike in (190, 195))
    for contract, bid, ask in ((near, "3.00", "3.10"), (far, "1.00", "1.20")):
        desk.price(bid, ask, name=str(contract.con_id))
    legs = ComboLeg(near.con_id, 1, "BUY", "SMART"), ComboLeg(far.con_id, 1, "SELL", "SMART")
    log = StateLog(path, desk.brokerage)
    log.store()
    written, states = [log_of(path).stat().st_size], [facts(desk.brokerage)]
    for act in (
        lambda: desk.place(
            order(1, quantity=2, contract=Contract(0, "AAPL", "BAG", combo_legs=legs, exchange="SMART"))
        ),
        desk.wait,
        lambda: desk.place(order(2, order_type="LMT", limit_price="180")),
        lambda: desk.brokerage.split(AAPL, 4, 1, desk.now),
    ):
        act()
        log.store()
        written.append(log_of(path).stat().st_size)
        states.append(facts(desk.brokerage))
    assert desk.held(near.con_id) == 8
    text = log_of(path).read_bytes()
    for (before, after), (undone, whole) in zip(pairwise(written), pairwise(states), strict=True):
        for size, expected in (
            (before + 1, undone),
            ((before + after) // 2, undone),
            (after - 1, undone),
            (after, whole),
        ):
            log_of(path).write_bytes(text[:size])
            other = fresh()
            assert load(path, other)
            assert facts(other) == expected


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"working":{"put":[{}],"drop":[]}}', '{"accounts":{"DU9":{"cash":"1"}}}', '{"executions":{}}']
)
def test_a_damaged_line_is_refused_by_its_number_and_nothing_is_restored(line: str, tmp_path: Path) -> None:
    desk, path, other = Desk(), tmp_path / "state.json", fresh()
    log = StateLog(path, desk.brokerage)
    log.store()
    desk.place(order(1))
    log.store()
    lines = log_of(path).read_text().splitlines()
    log_of(path).write_text("\n".join([lines[0], line, *lines[1:], ""]))
    before = to_document(other)
    with pytest.raises(StateFileError, match=r"state\.json\.log: line 2"):
        load(path, other)
    assert to_document(other) == before
