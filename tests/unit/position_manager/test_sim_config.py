"""The section ``sim`` of the configuration."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import position_manager
from position_manager.config.errors import ConfigError
from position_manager.config.loading import load, reload
from position_manager.config.sim import Sim, SimPosition
from position_manager.model import Kind, Right

EXAMPLE = Path(position_manager.__file__).with_name("example.yml")


def write(path: Path, text: str) -> Path:
    file = path / "pm.yml"
    file.write_text(text)
    return file


def test_the_example_shows_every_key(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    begin = lines.index("# sim:")
    block = [line.removeprefix("# ") for line in lines[begin : lines.index("", begin)]]
    sim = load(write(tmp_path, "\n".join(["mode: sim", *block]))).sim
    assert sim is not None
    assert sim.model_fields_set == Sim.model_fields.keys()
    assert {key for position in sim.positions for key in position.model_fields_set} == SimPosition.model_fields.keys()
    assert (sim.positions[1].expiry, sim.positions[1].average_price) == (date(2026, 12, 18), Decimal("4.20"))
    assert (sim.tick, sim.latency) == (timedelta(seconds=1), timedelta(milliseconds=50))


def test_mode_alone_holds_something(tmp_path: Path) -> None:
    assert load(write(tmp_path, "mode: sim\n")).sim is None
    held = Sim().positions
    options = [p for p in held if p.kind is Kind.OPTION]
    assert any(p.quantity < 0 and p.right is Right.PUT for p in options)
    assert any(p.quantity > 0 and p.right is Right.CALL for p in options)
    assert [p.quantity for p in held if p.kind is Kind.STOCK] == [100]
    assert not list(Sim().faults())


@pytest.mark.parametrize("day", [date(2026, 11, 23) + timedelta(days=n) for n in range(7)])
def test_an_expiry_that_is_not_given_is_a_friday_in_a_month(day: date) -> None:
    option = Sim().positions[0]
    expiry = option.expires(day)
    assert expiry is not None
    assert expiry.weekday() == 4 and 26 <= (expiry - day).days <= 32


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mode: paper\nsim: {seed: 2}", "2: sim: goes with mode sim only; the mode is paper"),
        ("mode: sim\nsim:\n  sede: 2", "3: sim.sede: is not a known key; did you mean seed?"),
        ("mode: sim\nsim:\n  tick_seconds: 0", "3: sim.tick_seconds: "),
        ("mode: sim\nsim:\n  seed: -1", "3: sim.seed: must be greater than or equal to 0; it is '-1'"),
        (
            "mode: sim\nsim:\n  account: U7654321",
            "3: sim.account: must match pattern '^DU[0-9]{3,10}$'; it is 'U7****21'",
        ),
        (
            "mode: sim\nsim:\n  positions:\n    - {symbol: XYZ, quantity: 1}",
            "4: sim.positions[0].symbol: XYZ is not among sim.underlyings: SPY, AAPL",
        ),
        (
            "mode: sim\nsim:\n  positions:\n    - {symbol: SPY, quantity: 1}\n    - {symbol: SPY, quantity: 2}",
            "5: sim.positions[1]: is the same contract as sim.positions[0]",
        ),
        ("mode: sim\nsim: {positions: [{symbol: SPY, quantity: 0}]}", "quantity must not be 0"),
        ("mode: sim\nsim: {positions: [{symbol: SPY, kind: OPT, quantity: 1}]}", "must have strike and right"),
        ("mode: sim\nsim: {positions: [{symbol: SPY, strike: 4, quantity: 1}]}", "strike and right go with kind OPT"),
        ("mode: sim\nsim: {positions: [{symbol: SPY, expiry: 2027-01-01, quantity: 1}]}", "its kind is STK"),
        ("mode: sim\naccounts: [DU1234567]", "2: accounts: has no DU*****01, the account of mode sim"),
        ("mode: sim\nexpected_accounts: [DU1234567]", "2: expected_accounts: has no DU*****01"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    assert fault in str(caught.value)


def test_a_running_broker_is_not_changed(tmp_path: Path) -> None:
    old = load(write(tmp_path, "mode: sim\nsim: {seed: 1}\n"))
    answer = reload(old, write(tmp_path, "mode: sim\nsim: {seed: 2}\n"))
    assert isinstance(answer, ConfigError) and "sim: cannot change while running" in str(answer)
