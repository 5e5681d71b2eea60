"""What an account is worth, as the broker reports it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal


@dataclass(frozen=True)
class AccountValues:
    """One whole answer about one account, asked for at ``time``; amounts in the account's base ``currency``.

    ``excess_liquidity`` and ``cash`` are None if the answer lacks them.
    """

    account: str
    time: datetime
    currency: str
    net_liquidation: Decimal
    excess_liquidity: Decimal | None = None
    cash: Decimal | None = None

    @property
    def cushion_percent(self) -> Decimal | None:
        """ExcessLiquidity as a percentage of NetLiquidation; 0 if nothing is left, None if it is not reported."""
        if self.excess_liquidity is None:
            return None
        if self.net_liquidation <= 0:
            return Decimal(0)
        return self.excess_liquidity / self.net_liquidation * 100
