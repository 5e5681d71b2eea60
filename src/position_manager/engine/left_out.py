"""Holdings of kinds that cannot be guarded (CFDs, bonds, funds, currencies, crypto, warrants): shown, and counted as
unprotected. Nothing is ever sent for them. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from position_manager.brokers.broker import LeftOut
from position_manager.rules.evaluation import Blind, Cause
from position_manager.rules.unprotected import Unprotected

WORDS = {
    "BILL": "treasury bill",
    "BOND": "bond",
    "CASH": "currency",
    "CFD": "CFD",
    "CMDTY": "commodity",
    "CRYPTO": "crypto currency",
    "FUND": "fund",
    "IND": "index",
    "IOPT": "structured product",
    "WAR": "warrant",
}
SUPPORTED = "stocks, options, futures and options on futures"


@dataclass(frozen=True)
class Unguarded:
    """One of them, and how long it has been unprotected since this process saw it first."""

    held: LeftOut
    count: Unprotected

    @property
    def text(self) -> str:
        return f"a {WORDS.get(self.held.kind, self.held.kind)} ({self.held.kind}); guarded are {SUPPORTED}"


class LeftOuts:
    """All of the guarded accounts."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience
        self.present: dict[tuple[str, int], Unguarded] = {}

    def update(self, held: Collection[LeftOut], accounts: Collection[str], now: datetime) -> list[Unguarded]:
        """What the broker reports at ``now``; returns those that were not known before."""
        before, self.present = self.present, {}
        for each in held:
            if each.account in accounts and each.quantity:
                known = before.get((each.account, each.con_id))
                self.present[each.account, each.con_id] = (
                    Unguarded(each, Unprotected()) if known is None else replace(known, held=each)
                )
        self.count(now)
        return [unguarded for key, unguarded in self.present.items() if key not in before]

    def count(self, now: datetime) -> None:
        """Count the time up to now."""
        for key, each in self.present.items():
            count = each.count.after_verdict(Blind(Cause.KIND, each.text), now, self._patience)
            self.present[key] = replace(each, count=count)
