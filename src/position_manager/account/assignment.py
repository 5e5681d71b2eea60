"""Whether a short option may be assigned early: pure judgements with the numbers they saw. They only notify.

- A holder exercises early when little time value is left to lose: the option is in the money, and its time value (the
  middle of bid and ask less the intrinsic value) is at most a bound.
- A holder of a call exercises on the day before the ex-dividend date if the dividend is worth more than the time
  value.
- A date is never guessed: it is one that the settings list, or that the broker reports. What is not known is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from position_manager.model import ZERO, Instrument, Kind, Quote, Right
from position_manager.rules.rule_set import CalendarDay, Number, Positive, Section, Whole


class DividendDay(Section):
    """An ex-dividend date, and the amount per share where it is known."""

    ex_date: CalendarDay
    amount: Positive | None = None


class AssignmentWarnings(Section):
    """Warnings about early assignment of short options. ``time_value_below``: per unit. ``ex_dividend_days``: how many
    calendar days before an ex-dividend date warnings about short calls start. ``dividends``: by underlying, what you
    know; these take precedence over what the broker reports. ``european``: underlyings whose options cannot be
    exercised early. ``ask_broker``: ask for the next dividend of underlyings that are not listed."""

    time_value_below: Annotated[Number, Field(ge=0)] = Decimal("0.05")
    ex_dividend_days: Annotated[Whole, Field(ge=0, le=60)] = 3
    dividends: Mapping[str, tuple[DividendDay, ...]] = Field(default_factory=dict)
    european: tuple[str, ...] = ()
    ask_broker: bool = True

    @model_validator(mode="after")
    def _no_both(self) -> Self:
        for symbol in self.european:
            if symbol in self.dividends:
                raise ValueError(
                    f"must not have {symbol} in both european and dividends: its options are not exercised early"
                )
        return self


@dataclass(frozen=True)
class Dividend:
    """The next dividend of an underlying; ``source``: who reports it, as shown in notifications."""

    ex_date: date
    amount: Decimal | None
    source: str


class Risk(StrEnum):
    """Why a short option may be assigned."""

    TIME_VALUE = "early assignment"
    EX_DIVIDEND = "ex-dividend"


@dataclass(frozen=True)
class RiskSeen:
    """One risk of one short option, with the numbers."""

    risk: Risk
    text: str


def is_exposed(instrument: Instrument, quantity: Decimal, settings: AssignmentWarnings) -> bool:
    """Whether a position may be assigned early at all."""
    return quantity < 0 and instrument.is_option and instrument.symbol not in settings.european


def next_dividend(
    instrument: Instrument, today: date, settings: AssignmentWarnings, reported: Dividend | None
) -> Dividend | None:
    """The next dividend of the underlying until the option expires, from the settings or else from the broker; None if
    it has none that is known."""
    if instrument.kind is not Kind.OPTION:
        return None
    listed: Iterable[Dividend] = (
        Dividend(day.ex_date, day.amount, "the settings") for day in settings.dividends.get(instrument.symbol, ())
    )
    known = [*listed] if instrument.symbol in settings.dividends else [reported] if reported is not None else []
    coming = (day for day in known if today < day.ex_date and day.ex_date <= (instrument.expiry or date.max))
    return min(coming, key=lambda day: day.ex_date, default=None)


def judge(
    instrument: Instrument,
    quote: Quote | None,
    dividend: Dividend | None,
    today: date,
    settings: AssignmentWarnings,
) -> tuple[RiskSeen, ...]:
    """The risks of a short option now. ``quote`` is a usable one, None if there is none."""
    middle = None if quote is None else quote.mid
    underlying = None if quote is None else quote.underlying
    found: list[RiskSeen] = []
    if middle is None or underlying is None:
        numbers, intrinsic, left = "its time value is not known: no usable quote", None, None
    else:
        sign = 1 if instrument.right is Right.CALL else -1
        intrinsic = max(ZERO, sign * (underlying - instrument.strike))
        left = max(ZERO, middle - intrinsic)
        numbers = (
            f"{intrinsic:.2f} in the money at {underlying:.2f}, middle {middle:.3f}, time value {left:.3f} per unit"
        )
    in_the_money = intrinsic is None or intrinsic > 0
    if left is not None and in_the_money and left <= settings.time_value_below:
        found.append(RiskSeen(Risk.TIME_VALUE, f"{numbers}, bound {settings.time_value_below}"))
    if dividend is None or instrument.right is not Right.CALL or not in_the_money:
        return tuple(found)
    days = (dividend.ex_date - today).days
    pays = dividend.amount is None or left is None or left < dividend.amount
    if 0 < days <= settings.ex_dividend_days and pays:
        worth = "an unknown amount" if dividend.amount is None else f"{dividend.amount} a share"
        found.append(
            RiskSeen(
                Risk.EX_DIVIDEND,
                f"{worth} on {dividend.ex_date} ({dividend.source}), in {days} days; {numbers}",
            )
        )
    return tuple(found)


def dividend_text(instrument: Instrument, dividend: Dividend | None, settings: AssignmentWarnings) -> str:
    """What is known of the next dividend of a short call."""
    if instrument.right is not Right.CALL or instrument.kind is not Kind.OPTION:
        return ""
    if dividend is not None:
        worth = "amount not known" if dividend.amount is None else f"{dividend.amount} a share"
        return f"next ex-dividend date {dividend.ex_date}, {worth} ({dividend.source})"
    if instrument.symbol in settings.dividends:
        return "no further ex-dividend date is listed before it expires"
    return "no ex-dividend date is known; list it in assignment_warnings.dividends"
