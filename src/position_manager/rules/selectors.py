"""Which contracts a part of the configuration is for: a single position, or the legs of a group."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from position_manager.model import Kind, Position, Right
from position_manager.rules.rule_set import CalendarDay, Number, Positive, RuleSet, Section, Whole


class Selector(Section):
    """Which contracts are meant: by ``con_id``, by ``local_symbol`` (spaces count once), or by ``symbol`` and as many
    of ``kind`` (STK, OPT, FUT, FOP), ``expiry``, ``strike`` and ``right`` (C, P) as are given."""

    con_id: Annotated[Whole, Field(gt=0)] | None = None
    local_symbol: Annotated[str, Field(min_length=1)] | None = None
    symbol: Annotated[str, Field(min_length=1)] | None = None
    kind: Kind | None = None
    expiry: CalendarDay | None = None
    strike: Positive | None = None
    right: Right | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("con_id", "local_symbol", "symbol") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(
                f"must have exactly one of con_id, local_symbol, symbol; it has {', '.join(ways) or 'none'}"
            )
        if self.symbol is None and any((self.kind, self.expiry, self.strike, self.right)):
            raise ValueError(f"kind, expiry, strike and right go with symbol; {ways[0]} already names one contract")
        return self

    def matches(self, position: Position) -> bool:
        """Whether a position's contract is meant."""
        held = position.instrument
        if self.local_symbol is not None and _collapsed(self.local_symbol) != _collapsed(held.local_symbol):
            return False
        asked = (self.con_id, self.symbol, self.kind, self.expiry, self.strike, self.right)
        has = (held.con_id, held.symbol, held.kind, held.expiry, held.strike, held.right)
        return all(wanted is None or wanted == value for wanted, value in zip(asked, has, strict=True))

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """Orders selectors: con_id before local_symbol before fields, more fields before fewer."""
        return self.con_id is not None, self.local_symbol is not None, len(self.model_dump(exclude_none=True))

    def __str__(self) -> str:
        return " ".join(str(value) for value in self.model_dump(mode="json", exclude_none=True).values())


def _collapsed(text: str) -> str:
    return " ".join(text.split())


class Match(Selector):
    """The contracts of an entry of ``positions``; with ``side`` only those held ``long`` or ``short``."""

    side: Literal["long", "short"] | None = None

    def matches(self, position: Position) -> bool:
        side = "long" if position.quantity > 0 else "short"
        return self.side in (None, side) and super().matches(position)


class PositionRules(RuleSet):
    """The rules of single contracts. If several entries fit a position, the most precise one holds (con_id, then
    local_symbol, then the most fields); of equals, the first in the file."""

    match: Match


class LegSelector(Selector):
    """One leg of a group. ``ratio`` is how many of it one unit of the group has, negative if held short."""

    ratio: Annotated[Whole, Field(ge=-1000, le=1000)]

    @model_validator(mode="after")
    def _not_none(self) -> Self:
        if self.ratio == 0:
            raise ValueError("ratio must not be 0: positive for a long leg, negative for a short one")
        return self

    @property
    def contract(self) -> dict[str, Any]:
        return self.model_dump(exclude={"ratio"}, exclude_none=True)


class Group(RuleSet):
    """Legs that are valued and closed as one, in each account that holds them. ``close``: leg by leg (``legs``), or by
    one combination order (``combo``) for ``combo_seconds`` at most, and what is left then leg by leg."""

    legs: Annotated[tuple[LegSelector, ...], Field(min_length=1)]
    close: Literal["legs", "combo"] = "legs"
    combo_seconds: Annotated[Number, Field(ge=10, le=3600)] = Decimal(60)
