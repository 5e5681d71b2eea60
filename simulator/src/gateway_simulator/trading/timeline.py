"""Prices that were set manually or by a tape, and the step from which each of them is valid."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal

from gateway_simulator.trading.model import Halted

CHANGES_CACHED = 2000
"""How many changes of one contract are remembered; of older ones bars and ticks know nothing."""


@dataclass(frozen=True)
class SetPrice:
    """The market of a contract as it was set; None for a price means that there is none, for a size that it was
    not set."""

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    last_size: Decimal | None = None
    halted: Halted = Halted.NO

    @property
    def reference(self) -> float | None:
        """The price that derivatives follow: the middle of bid and ask, or whatever there is."""
        if self.bid is not None and self.ask is not None:
            return float(self.bid + self.ask) / 2
        known = next((each for each in (self.last, self.bid, self.ask) if each is not None), None)
        return None if known is None else float(known)


@dataclass
class Timeline:
    """What was set for one contract, in order of steps; None represents a release."""

    steps: list[int] = field(default_factory=list)
    values: list[SetPrice | None] = field(default_factory=list)

    def add(self, step: int, value: SetPrice | None) -> None:
        """Set a value from a step on. What was set for this step or a later one is discarded."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)
        del self.steps[:-CHANGES_CACHED], self.values[:-CHANGES_CACHED]

    def at(self, step: int) -> SetPrice | None:
        """Return the value at a step, or None where the market moves by itself."""
        index = bisect_right(self.steps, step)
        return self.values[index - 1] if index else None

    def changes(self, first: int, last: int) -> list[int]:
        """Return the steps after ``first`` and up to ``last`` at which something changes."""
        return self.steps[bisect_right(self.steps, first) : bisect_right(self.steps, last)]
