"""The rules that may guard a position, as they are written in the configuration.

How rules count, with numbers. A *unit* is what is guarded: one position, or a group of legs valued as one.

- Its *price* is what closing one unit now would bring or cost, at the side each leg would trade on: the bid for what
  is held long, the ask for what is held short. Its *entry* is the same from the average prices.
- The *premium* is the entry price: paid for a long option (or stock, or future, or debit spread), received for a short
  option (or credit spread). Every percent below is a percent of this premium, also for trailing and breakeven.
- A *long* unit gains when its price rises, a *short* one when it falls. A group that was paid for is long, one that
  brought a credit is short; its price is then what buying it back costs.
- Amounts are money in the instrument's currency for the whole unit: all contracts, multiplier included.

| rule, at a premium of 2.50, one contract of 100 | a long option closes at | a short option closes at |
|---|---|---|
| stop percent_of_premium 50 | bid <= 1.25 (half of what was paid is lost) | ask >= 3.75 |
| stop percent_of_premium 100 | bid <= 0 (all of it is lost) | ask >= 5.00 (the whole credit is lost once) |
| stop loss_amount 80 | bid <= 1.70 | ask >= 3.30 |
| stop price 1.00 | bid <= 1.00 | ask >= 1.00 (such a stop is only useful above the price) |
| target percent_of_premium 60 | bid >= 4.00 | ask <= 1.00 (60 % of the credit is kept) |
| target profit_amount 80 | bid >= 3.30 | ask <= 1.70 |
| breakeven after_percent 40, once 40 % were gained | bid <= 2.50 | ask >= 2.50 |
| trailing activate 40, distance 20, best price 4.00 / 1.00 | bid <= 3.50 | ask >= 1.50 |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Day  # noqa: N812 - a field of a rule is called date
from datetime import time as ClockTime  # noqa: N812 - and one of a rule set is called time
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    model_validator,
)


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @cached_property
    def wording(self) -> str:
        """In one line, without what is not given: it distinguishes a rule from another."""
        return self.model_dump_json(exclude_none=True)


def _no_bool(value: Any) -> Any:
    """YAML's true is no number, although Python takes it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _clock_span(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    hours, colon, minutes = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and hours.isdecimal() and len(minutes) == 2 and minutes.isdecimal() and int(minutes) < 60):
        raise ValueError('must be hours and minutes, such as "00:15"')
    span = timedelta(hours=int(hours), minutes=int(minutes))
    if not timedelta() < span < timedelta(hours=24):
        raise ValueError('must be more than "00:00" and less than "24:00"')
    return span


def _clock_text(span: timedelta) -> str:
    return f"{span // timedelta(hours=1):02}:{span // timedelta(minutes=1) % 60:02}"


def _day_time(value: Any) -> Any:
    """Only "15:45": pydantic alone would take the number 1545 for seconds after midnight."""
    if isinstance(value, ClockTime):
        return value
    if not isinstance(value, str) or ":" not in value:
        raise ValueError('must be a time of day, such as "15:45"')
    return value


def _without_zone(at: ClockTime) -> ClockTime:
    """A zone that was written and not honoured would move the rule by hours."""
    if at.tzinfo is not None:
        raise ValueError('must be a time of day without a zone, such as "15:45"; the zone of rules is hours.timezone')
    return at


def _broker_day(value: Any) -> Any:
    """A day in the broker's own form too, 20261218, which pydantic would take for seconds since 1970."""
    if isinstance(value, str) and len(value) == 8 and value.isdecimal():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


Number = Annotated[Decimal, BeforeValidator(_no_bool)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(gt=0, lt=100)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Span = Annotated[timedelta, BeforeValidator(_clock_span), PlainSerializer(_clock_text)]
DayTime = Annotated[ClockTime, BeforeValidator(_day_time), AfterValidator(_without_zone)]
CalendarDay = Annotated[Day, BeforeValidator(_broker_day)]


def _exactly_one(section: BaseModel, *names: str) -> None:
    given = [name for name in names if getattr(section, name) is not None]
    if len(given) != 1:
        raise ValueError(f"must have exactly one of {', '.join(names)}; it has {', '.join(given) or 'none of them'}")


class PriceBounds(Section):
    """Where the price of the underlying triggers: at or ``below`` the one, at or ``above`` the other.

    The direction is always written, because a put and a call, a long and a short one lose in opposite ones. For a
    stock or a future the underlying is the instrument itself.
    """

    below: Positive | None = None
    above: Positive | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("must have below or above, or both")
        if self.below is not None and self.above is not None and self.below >= self.above:
            raise ValueError(f"below ({self.below}) must be less than above ({self.above}): every price would trigger")
        return self


class Stop(Section):
    """Close at a loss; exactly one of these.

    ``percent_of_premium``: this part of the premium is lost. Long at 2.50, 50: bid <= 1.25. Short at 2.50, 100:
    ask >= 5.00. ``price``: the unit's price, long at or below it, short at or above it. ``underlying_price``: see
    PriceBounds. ``loss_amount``: money lost on the whole unit; two contracts of 100, short at 2.50, 300: ask >= 4.00.
    """

    percent_of_premium: Positive | None = None
    price: Number | None = None
    underlying_price: PriceBounds | None = None
    loss_amount: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, "percent_of_premium", "price", "underlying_price", "loss_amount")
        return self


class TargetLevel(Section):
    """Where a profit is taken; the fields mean what they mean in Target."""

    percent_of_premium: Positive | None = None
    price: Number | None = None
    underlying_price: PriceBounds | None = None
    profit_amount: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, *LEVEL_FIELDS)
        return self


LEVEL_FIELDS = ("percent_of_premium", "price", "underlying_price", "profit_amount")


class TargetStep(TargetLevel):
    """A target that holds from a day on, until the next step: ``from_dte`` calendar days before the first expiry among
    the legs, or ``from_days_held`` calendar days after the position was opened. Days are those of the exchange."""

    from_dte: Annotated[Whole, Field(ge=0)] | None = None
    from_days_held: Annotated[Whole, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one_day(self) -> Self:
        _exactly_one(self, "from_dte", "from_days_held")
        return self


class Target(Section):
    """Close at a profit; exactly one of these.

    ``percent_of_premium``: this part of the premium is gained. Long at 2.50, 60: bid >= 4.00. Short at 2.50, 60:
    ask <= 1.00; 100 or more cannot be reached by a short unit, as no ask is 0. ``price``: long at or above it, short
    at or below it. ``underlying_price``: see PriceBounds. ``profit_amount``: money gained on the whole unit.
    ``steps``: a target that changes with the days, the earliest step first; before the first one there is none.
    """

    percent_of_premium: Positive | None = None
    price: Positive | None = None
    underlying_price: PriceBounds | None = None
    profit_amount: Positive | None = None
    steps: Annotated[tuple[TargetStep, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, *LEVEL_FIELDS, "steps")
        by_dte = [step.from_dte for step in self.steps or () if step.from_dte is not None]
        by_held = [step.from_days_held for step in self.steps or () if step.from_days_held is not None]
        if by_dte and by_held:
            raise ValueError("steps must all have from_dte, or all from_days_held")
        if any(later >= earlier for earlier, later in pairwise(by_dte)):
            raise ValueError("steps must be in the order of time: each from_dte less than the one before")
        if any(later <= earlier for earlier, later in pairwise(by_held)):
            raise ValueError("steps must be in the order of time: each from_days_held more than the one before")
        return self

    @property
    def names_a_price(self) -> bool:
        return _names_a_price(self) or any(_names_a_price(step) for step in self.steps or ())


class PartialLevel(TargetLevel):
    """A part of the position is closed here: ``close_percent`` of what is held then, rounded down to whole contracts
    (units of a group), or ``close_quantity`` of them."""

    close_percent: Annotated[Number, Field(gt=0, lt=100)] | None = None
    close_quantity: Annotated[Whole, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        _exactly_one(self, "close_percent", "close_quantity")
        return self


class PartialTargets(Section):
    """Close parts at profits, the nearest level first; the rest is left to the other rules.

    The n-th level is closed once in an episode of the position, whatever becomes of its numbers or of the quantity
    meanwhile. Half of one contract is none: such a level closes nothing and counts as done. Four long contracts at
    2.50, levels 40 (half) and 80 (half): two are sold from a bid of 3.50, one from 4.50. ``then_breakeven``: once the
    first level is done, close the rest when the gain is gone, as Breakeven does.
    """

    levels: Annotated[tuple[PartialLevel, ...], Field(min_length=1, max_length=20)]
    then_breakeven: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("percent_of_premium", "profit_amount"):
            given = [value for level in self.levels if (value := getattr(level, name)) is not None]
            if any(later <= earlier for earlier, later in pairwise(given)):
                raise ValueError(f"levels must be in the order of profit: each {name} more than the one before")
        prices = [level.price for level in self.levels if level.price is not None]
        ways = {later > earlier for earlier, later in pairwise(prices)}
        if len(ways) > 1 or len(set(prices)) < len(prices):
            raise ValueError("levels must be in the order of profit: their prices must all rise, or all fall")
        return self

    @property
    def names_a_price(self) -> bool:
        return any(_names_a_price(level) for level in self.levels)


def _names_a_price(level: TargetLevel | Target) -> bool:
    return level.price is not None or level.underlying_price is not None


class StrikeStop(Section):
    """Close when the underlying comes near the strike of a short option, or beyond it; exactly one of these.

    ``touched``: it is at the strike. ``out_of_the_money_amount`` or ``_percent`` (of the strike): it is still that far
    from it on the good side. ``in_the_money_amount`` or ``_percent``: it is that far beyond. A short put of 450,
    out_of_the_money_percent 1: underlying <= 454.50; touched: <= 450; in_the_money_amount 2: <= 448. A short call is
    the mirror image. In a group each short option counts, and the whole group is closed. It does not apply to a unit
    without a short option.
    """

    touched: Literal[True] | None = None
    out_of_the_money_amount: Positive | None = None
    out_of_the_money_percent: Annotated[Number, Field(gt=0, lt=100)] | None = None
    in_the_money_amount: Positive | None = None
    in_the_money_percent: Annotated[Number, Field(gt=0, lt=100)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        _exactly_one(self, *StrikeStop.model_fields)
        return self


class Trailing(Section):
    """A stop that follows the best price and never loosens.

    It activates once the unit has gained ``activate_percent`` of the premium or ``activate_amount`` of money, and
    closes when ``distance_percent`` of the premium, or ``distance_amount``, of the best gain is given back. Long at
    2.50, activate 40, distance 20: active from a bid of 3.50; at a best bid of 4.00 it closes at 3.50. Short at 2.50:
    active from an ask of 1.50; at a best ask of 1.00 it closes at 1.50. The best price counts only when as many
    quotes in a row as a trigger needs were at least as good.
    """

    activate_percent: Positive | None = None
    activate_amount: Positive | None = None
    distance_percent: Positive | None = None
    distance_amount: Positive | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _exactly_one(self, "activate_percent", "activate_amount")
        _exactly_one(self, "distance_percent", "distance_amount")
        for kind in ("percent", "amount"):
            activate, distance = getattr(self, f"activate_{kind}"), getattr(self, f"distance_{kind}")
            if activate is not None and distance is not None and distance >= activate:
                raise ValueError(
                    f"distance_{kind} ({distance}) must be less than activate_{kind} ({activate}): "
                    "it would close at a loss as soon as it is active"
                )
        return self


class TimeRule(Section):
    """Close by the clock, in a regular session. It needs no quote to decide.

    The day: ``dte`` (so many calendar days before the first expiry among the legs) or ``date``; neither is every day.
    The time of that day: ``at`` (in the configured time zone) or ``before_close`` (hours:minutes before the regular
    close); neither is the open. After the day is over it closes at once. ``dte: 21, at: "15:45"`` closes at 15:45 on
    the day that is 21 days before expiry. On a day whose session ends before ``at``, it closes 15 minutes before that
    end. A ``dte`` does not apply to what does not expire.
    """

    dte: Annotated[Whole, Field(ge=0)] | None = None
    date: CalendarDay | None = None
    at: DayTime | None = None
    before_close: Span | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("must have dte or date, at or before_close, or one of each pair")
        for one, other in (("dte", "date"), ("at", "before_close")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"must have {one} or {other}, not both")
        return self


class DeltaRule(Section):
    """Close when the absolute delta of one unit is at or ``above``, or at or ``below``, a bound.

    A short put with a delta of -0.35 has 0.35. For a group the deltas of its legs are added by their signed ratios
    (a share or a future counts 1), per contract of its largest multiplier. It does not apply without an option.
    """

    above: Annotated[Number, Field(gt=0)] | None = None
    below: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("must have above or below, or both")
        if self.above is not None and self.below is not None and self.below >= self.above:
            raise ValueError(f"below ({self.below}) must be less than above ({self.above}): every delta would trigger")
        return self


class Breakeven(Section):
    """Once ``after_percent`` of the premium was gained (as confirmed as the best price of Trailing), close when the
    gain is gone: long at 2.50, 40: after a bid of 3.50, close at 2.50; short: after an ask of 1.50, close at 2.50."""

    after_percent: Positive


def _off_or_rule(value: Any) -> str:
    return "off" if value == "off" else "rule"


_SWITCHED_OFF = Annotated[Literal["off"], Tag("off")]


class RuleSet(Section):
    """The rules of one level; what is not given is inherited from the level below, ``off`` ends the inheritance."""

    stop: Annotated[Annotated[Stop, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    target: Annotated[Annotated[Target, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    trailing: Annotated[Annotated[Trailing, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    time: Annotated[Annotated[TimeRule, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    delta: Annotated[Annotated[DeltaRule, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    breakeven: Annotated[Annotated[Breakeven, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = None
    partial_targets: (
        Annotated[Annotated[PartialTargets, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None
    ) = None
    strike_stop: Annotated[Annotated[StrikeStop, Tag("rule")] | _SWITCHED_OFF, Discriminator(_off_or_rule)] | None = (
        None
    )

    @cached_property
    def own_rules(self) -> Mapping[str, Section | Literal["off"]]:
        """The settings of this level itself, by the rule's name."""
        return {name: value for name in RULE_NAMES if (value := getattr(self, name)) is not None}

    def names_a_price(self, name: str) -> bool:
        """Whether a rule names a price itself, and not what was gained or lost since the entry."""
        rule = self.own_rules.get(name)
        if isinstance(rule, Stop):
            return rule.price is not None or rule.underlying_price is not None
        # A split moves strikes with the position, but not the distance that was written here.
        amount = isinstance(rule, StrikeStop) and (rule.out_of_the_money_amount or rule.in_the_money_amount)
        return bool(amount) or (isinstance(rule, (Target, PartialTargets)) and rule.names_a_price)

    @property
    def name_prices(self) -> bool:
        """Whether any rule names a price itself."""
        return any(self.names_a_price(name) for name in self.own_rules)


RULE_NAMES = tuple(RuleSet.model_fields)
