"""Accounts: what trades do to cash, average cost and profit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_simulator.trading.accounts import Account
from gateway_simulator.trading.model import Contract, Position

STOCK = Contract(1, "ABC")
FUTURE = Contract(2, "ES", sec_type="FUT", multiplier="50")
OPTION = Contract(3, "ABC", sec_type="OPT", right="C", strike=Decimal(100), multiplier="100")
D = Decimal


def account(cash: int = 10_000) -> Account:
    return Account("DU1", cash=D(cash))


def figures(held: Account) -> dict[str, str]:
    return {each.key: each.value for each in held.values() if each.currency in ("", "USD")}


def test_average_cost_has_the_multiplier_and_the_commissions_of_what_opened() -> None:
    own = account()
    own.trade(OPTION, D(1), D("2.00"), D("1.00"))
    held = own.trade(OPTION, D(1), D("3.00"), D("1.00"))
    assert (held.quantity, held.average_cost) == (D(2), D(251))
    assert own.cash == 10_000 - 502


def test_closing_realizes_the_difference_less_its_commission_and_keeps_the_average() -> None:
    own = account()
    own.trade(STOCK, D(10), D(50), D(1))
    held = own.trade(STOCK, D(-4), D(60), D(1))
    assert (held.quantity, held.average_cost) == (D(6), D("50.1"))
    assert held.realized_pnl == own.realized[1] == 4 * (60 - D("50.1")) - 1
    assert own.cash == 10_000 - 501 + 239


def test_a_short_position_costs_what_it_brought() -> None:
    own = account()
    held = own.trade(STOCK, D(-10), D(50), D(1))
    assert (held.quantity, held.average_cost) == (D(-10), D("49.9"))
    own.trade(STOCK, D(10), D(45), D(1))
    assert own.positions == {}
    assert own.realized[1] == 10 * (D("49.9") - 45) - 1


def test_crossing_zero_closes_all_and_opens_the_rest() -> None:
    own = account()
    own.trade(STOCK, D(10), D(50), D(0))
    held = own.trade(STOCK, D(-30), D(60), D(3))
    assert (held.quantity, held.average_cost) == (D(-20), D("59.9"))
    assert own.realized[1] == 100 - 1
    assert own.cash == 10_000 - 500 + 1800 - 3


def test_a_future_moves_cash_only_when_it_is_closed() -> None:
    own = account()
    held = own.trade(FUTURE, D(2), D(6000), D("4.50"))
    assert own.cash == 10_000
    own.hold(replace(held, market_price=D(6010)))
    assert own.net_liquidation == 10_000 + 2 * 50 * 10 - D("4.50")
    own.trade(FUTURE, D(-2), D(6010), D("4.50"))
    assert own.cash == own.net_liquidation == 10_000 + 1000 - 9


def test_daily_profit_counts_from_the_days_start_and_agrees_with_the_worth() -> None:
    own = account()
    own.trade(STOCK, D(10), D(50), D(1))
    own.start_day()
    start = own.net_liquidation
    assert own.profit().daily == own.profit().realized == 0
    own.hold(replace(own.positions[1], market_price=D(55)))
    own.trade(STOCK, D(-5), D(55), D(1))
    own.trade(OPTION, D(1), D(2), D(1))
    profit = own.profit()
    assert profit.daily == own.net_liquidation - start == 50 - 1 - 1
    assert profit.realized == 5 * (55 - D("50.1")) - 1
    assert profit.unrealized == 5 * (55 - D("50.1")) - 1
    assert own.profit_of(3).daily == -1
    own.start_day()
    assert own.profit().daily == own.profit().realized == own.positions[1].realized_pnl == 0


def test_the_values_show_margin_and_worth() -> None:
    own = account()
    own.hold(Position(STOCK, D(100), D(50), D(60)))
    own.hold(Position(OPTION, D(2), D(150), D(2)))
    values = figures(own)
    assert values["NetLiquidation"] == "16400.00"
    assert values["EquityWithLoanValue"] == "16000.00"
    assert (values["InitMarginReq"], values["MaintMarginReq"]) == ("3000.00", "1500.00")
    assert (values["AvailableFunds"], values["BuyingPower"]) == ("13000.00", "52000.00")
    assert (values["StockMarketValue"], values["OptionMarketValue"]) == ("6000.00", "400.00")
    assert values["UnrealizedPnL"] == "1100.00"
    assert values["Cushion"] == "0.908537"


def test_an_account_uses_one_currency() -> None:
    with pytest.raises(ValueError, match="kept in USD"):
        account().hold(Position(replace(STOCK, currency="EUR"), D(1), D(1), D(1)))
