"""Guarded units: single positions, and groups of legs that are valued and closed as one. Pure.

A group whose legs do not fit (one is missing, the ratios are wrong, a pattern fits several contracts) is reported and
not guarded as a group. Its short legs fall back to the rules for single positions: to buy back what is owed never adds
risk that was not there. Its long legs do so only if none of its short legs is held: to sell them alone could leave a
short leg uncovered, so until a person or the group's own close has cleared that up they stay unguarded, and count as
unprotected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property

from ib_connection.accounts import masked
from position_manager.model import Instrument, Position, Quote
from position_manager.rules.selectors import Group

ONE = Decimal(1)


@dataclass(frozen=True)
class Leg:
    """A position in a unit; ``ratio`` is its signed quantity in one unit."""

    position: Position
    ratio: Decimal

    @property
    def instrument(self) -> Instrument:
        return self.position.instrument

    @property
    def weight(self) -> Decimal:
        """What a price of 1 of this leg is worth in one unit, in money, signed."""
        return self.ratio * self.instrument.multiplier


@dataclass(frozen=True)
class Unit:
    """What is guarded and closed as one. ``problem``: why it cannot be guarded, e.g. a leg of a broken group.

    Prices of a unit are per its largest multiplier, as spreads are quoted: a vertical of 1 and -1 bought at 3.00 and
    sold at 1.80 has the entry 1.20; 100 shares and -1 call count per share.
    """

    account: str
    name: str
    legs: tuple[Leg, ...]
    group: str | None = None
    problem: str | None = None

    @cached_property
    def key(self) -> str:
        """Names the unit in the journal."""
        if self.group is not None:
            return group_key(self.account, self.group)
        return f"{self.account} contract {self.legs[0].instrument.con_id}"

    @property
    def shown_key(self) -> str:
        """The key in readable form."""
        return self.key.replace(self.account, masked(self.account))

    @cached_property
    def symbol(self) -> str | None:
        """The underlying, if all legs have the same."""
        symbols = {leg.instrument.symbol for leg in self.legs}
        return symbols.pop() if len(symbols) == 1 else None

    @cached_property
    def quantity(self) -> Decimal:
        """How many units are held, above zero."""
        return self.legs[0].position.quantity / self.legs[0].ratio

    @cached_property
    def multiplier(self) -> Decimal:
        return max(leg.instrument.multiplier for leg in self.legs)

    @cached_property
    def money_per_point(self) -> Decimal:
        """What a change of the unit's price by 1 is worth on the whole holding."""
        return self.quantity * self.multiplier

    @cached_property
    def direction(self) -> int:
        """1 if the unit gains when its price rises (long, or paid for), -1 if when it falls (short, or a credit)."""
        if len(self.legs) == 1:
            return 1 if self.legs[0].ratio > 0 else -1
        return -1 if self._net(lambda leg: leg.position.average_price) < 0 else 1

    @cached_property
    def entry(self) -> Decimal:
        """What one unit cost, or the credit that it brought, per its multiplier: the premium."""
        return self._net(lambda leg: leg.position.average_price) * self.direction

    @cached_property
    def first_expiry(self) -> date | None:
        return min((leg.instrument.expiry for leg in self.legs if leg.instrument.expiry is not None), default=None)

    @cached_property
    def has_option(self) -> bool:
        return any(leg.instrument.is_option for leg in self.legs)

    def price(self, quotes: Mapping[int, Quote]) -> Decimal:
        """What closing one unit brings or costs, at the bids of long legs and the asks of short ones.

        Raises ValueError if a leg has no such price; the caller has checked the quotes.
        """
        return self._net(lambda leg: exit_price(leg, quotes)) * self.direction

    def profit(self, quotes: Mapping[int, Quote]) -> Decimal:
        """What the whole holding has gained (negative: lost) at those prices, in money."""
        return (self.price(quotes) - self.entry) * self.direction * self.money_per_point

    def _net(self, price_of: Callable[[Leg], Decimal]) -> Decimal:
        return sum((leg.weight * price_of(leg) for leg in self.legs), Decimal()) / self.multiplier


def group_key(account: str, name: str) -> str:
    """The key of a group that an account holds."""
    return f"{account} group {name}"


def exit_price(leg: Leg, quotes: Mapping[int, Quote]) -> Decimal:
    """The price at the side that closing a leg would trade on. Raises ValueError if there is none."""
    quote = quotes[leg.instrument.con_id]
    price = quote.bid if leg.ratio > 0 else quote.ask
    if price is None:
        raise ValueError(f"{leg.instrument.label} has no {'bid' if leg.ratio > 0 else 'ask'}")
    return price


@dataclass(frozen=True)
class GroupProblem:
    """A group that does not fit what an account holds; ``text`` names the account masked."""

    group: str
    account: str
    text: str


@dataclass(frozen=True)
class Grouping:
    """Every position is in exactly one unit."""

    units: tuple[Unit, ...]
    problems: tuple[GroupProblem, ...] = ()


def group_positions(positions: Iterable[Position], groups: Mapping[str, Group]) -> Grouping:
    """Sort what is held into units. A group of which an account holds no leg at all is no problem there."""
    by_account: dict[str, list[Position]] = defaultdict(list)
    for position in positions:
        if position.quantity:
            by_account[position.account].append(position)
    units: list[Unit] = []
    problems: list[GroupProblem] = []
    for account, held in sorted(by_account.items()):
        taken: dict[int, str] = {}
        for name, group in groups.items():
            fits = [[p for p in held if leg.matches(p)] for leg in group.legs]
            touched = {p.instrument.con_id: p for found in fits for p in found}
            if not touched:
                continue
            text = _misfit(group, fits, taken)
            if text is None:
                legs = tuple(Leg(found[0], Decimal(leg.ratio)) for leg, found in zip(group.legs, fits, strict=True))
                units.append(Unit(account, name, legs, name))
            else:
                text = f"group {name} in {masked(account)} does not fit: {text}"
                problems.append(GroupProblem(name, account, text))
                units += _fallback([p for con_id, p in touched.items() if con_id not in taken], text)
            taken.update(dict.fromkeys((con_id for con_id in touched if con_id not in taken), name))
        units += [single(p) for p in held if p.instrument.con_id not in taken]
    return Grouping(tuple(units), tuple(problems))


def single(position: Position, problem: str | None = None) -> Unit:
    """A position on its own."""
    ratio = ONE if position.quantity > 0 else -ONE
    return Unit(position.account, position.instrument.label, (Leg(position, ratio),), problem=problem)


def _fallback(legs: Sequence[Position], text: str) -> list[Unit]:
    short = any(leg.quantity < 0 for leg in legs)
    return [
        single(leg, f"{text}; a long leg is not sold alone" if short and leg.quantity > 0 else None) for leg in legs
    ]


def _misfit(group: Group, fits: Sequence[Sequence[Position]], taken: Mapping[int, str]) -> str | None:
    """Why the legs are no group; None if they are one."""
    for leg, found in zip(group.legs, fits, strict=True):
        if not found:
            return f"leg {leg} is missing"
        if len(found) > 1:
            return f"leg {leg} fits {', '.join(p.instrument.label for p in found)}"
        if found[0].instrument.con_id in taken:
            return f"{found[0].instrument.label} is a leg of group {taken[found[0].instrument.con_id]}"
    held = [found[0] for found in fits]
    if len({p.instrument.con_id for p in held}) < len(held):
        return "two legs are the same contract"
    if len({p.instrument.currency for p in held}) > 1:
        return "its legs have different currencies"
    counts = [p.quantity / leg.ratio for leg, p in zip(group.legs, held, strict=True)]
    if min(counts) <= 0 or len(set(counts)) > 1:
        parts = (
            f"{p.quantity} of {p.instrument.label} for {leg.ratio}" for leg, p in zip(group.legs, held, strict=True)
        )
        return f"the ratio is wrong: {', '.join(parts)}"
    return None
