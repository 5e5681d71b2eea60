"""A simulated gateway whose account holds so many options from the start: ``python -m bench.held_gateway COUNT …``,
with the simulator's own options after it. Buying ten thousand of them by orders takes minutes.

A line of its output has their contract ids.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from gateway_simulator import main as simulator
from gateway_simulator.login import trading
from gateway_simulator.trading.brokerage import Brokerage
from gateway_simulator.trading.model import Contract, ContractQuery, Position
from gateway_simulator.trading.sample import sample_brokerage

SYMBOLS = ("SPY", "AAPL", "MSFT", "TSLA", "QQQ", "IWM", "AMZN", "GOOG", "NVDA", "INTC", "NFLX", "META")
BID, ASK = Decimal("0.02"), Decimal("0.03")
COST = ASK * 100
HELD = "held: "
"""Before the contract ids, which are separated by commas."""


def options(brokerage: Brokerage, now: datetime) -> Iterator[Contract]:
    """Options of several underlyings that do not end within days."""
    first = f"{now + timedelta(days=2):%Y%m%d}"
    for symbol in SYMBOLS:
        for each in brokerage.catalog.find(ContractQuery(symbol=symbol, sec_type="OPT", exchange="SMART")):
            if each.contract.expiry > first:
                yield each.contract


def hold(brokerage: Brokerage, count: int, now: datetime) -> list[int]:
    """Give the account so many options, one of each; return their contract ids."""
    (account,) = brokerage.accounts.values()
    held = list(islice(options(brokerage, now), count))
    if len(held) < count:
        raise SystemExit(f"bench.held_gateway: only {len(held)} options were found, {count} are wanted")
    for contract in held:
        account.hold(Position(contract, Decimal(1), COST, BID))
        brokerage.market.set_price(str(contract.con_id), now, bid=BID, ask=ASK)
    for symbol in {contract.symbol for contract in held}:
        # Else the greeks of all their options change with every step of the clock.
        price = brokerage.market.quote(brokerage.market.named(symbol).contract.con_id, now).last
        brokerage.market.set_price(symbol, now, last=price)
    return [contract.con_id for contract in held]


def main() -> int:
    """Run the simulator."""
    count = int(sys.argv.pop(1))
    create = sample_brokerage

    def created(*values: Any, now: datetime, **more: Any) -> Brokerage:
        brokerage = create(*values, now=now, **more)
        con_ids = hold(brokerage, count, now)
        sys.stdout.write(f"{HELD}{','.join(map(str, con_ids))}\n")
        sys.stdout.flush()
        return brokerage

    # The only place at which the simulator creates its brokerage.
    vars(trading).update(sample_brokerage=created)
    return simulator.main()


if __name__ == "__main__":
    sys.exit(main())
