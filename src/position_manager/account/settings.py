"""The rules about a whole account, as they are written in the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from position_manager.rules.rule_set import Number, Positive, Section, Whole

Percent = Annotated[Number, Field(ge=Decimal("0.5"), lt=100)]
"""Less is a fraction that was meant as a percentage: it would close everything at the first tick."""


class Action(StrEnum):
    """What an account rule does once it is confirmed.

    ``close``: close every unit that the account holds at that moment, short ones first. ``halt``: the guards go on, and
    every position that is opened or enlarged until the end is alerted about. ``notify``: one alert.
    """

    CLOSE = "close"
    HALT = "halt"
    NOTIFY = "notify"


class _Loss(Section):
    percent: Percent | None = None
    amount: Positive | None = None
    action: Action

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.percent is None) is (self.amount is None):
            raise ValueError("must have exactly one of percent, amount")
        return self

    def limit(self, start: Decimal) -> Decimal:
        """The loss at which it fires, in money."""
        return self.amount if self.amount is not None else start * (self.percent or Decimal(0)) / 100


class DailyLoss(_Loss):
    """Fires when the net liquidation value is ``percent`` of the day's start, or ``amount``, below the day's start."""


class Drawdown(_Loss):
    """Fires when the net liquidation value is ``percent`` of the best one, or ``amount``, below the best one."""


class MarginCushion(Section):
    """Fires when ExcessLiquidity is at or below this percentage of NetLiquidation."""

    below_percent: Percent
    action: Action


class AccountRules(Section):
    """Stops of a whole account; each guarded account has its own. The values are asked for every ``ask_seconds``; those
    older than ``max_age_seconds`` decide nothing. A rule must hold in so many answers in a row (``confirmations``) that
    span ``confirm_seconds`` at least."""

    daily_loss: DailyLoss | None = None
    drawdown: Drawdown | None = None
    margin_cushion: MarginCushion | None = None
    ask_seconds: Annotated[Number, Field(ge=1, le=300)] = Decimal(15)
    max_age_seconds: Annotated[Number, Field(ge=2, le=900)] = Decimal(60)
    confirmations: Annotated[Whole, Field(ge=2, le=10)] = 2
    confirm_seconds: Annotated[Number, Field(ge=0, le=600)] = Decimal(15)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.own_rules:
            raise ValueError("must have at least one of daily_loss, drawdown, margin_cushion")
        if self.max_age_seconds < 2 * self.ask_seconds:
            raise ValueError(
                f"max_age_seconds ({self.max_age_seconds}) must be at least twice ask_seconds ({self.ask_seconds}): "
                "one late answer would leave the account unprotected"
            )
        return self

    @property
    def own_rules(self) -> dict[str, DailyLoss | Drawdown | MarginCushion]:
        return dict(self._given())

    def _given(self) -> Iterator[tuple[str, DailyLoss | Drawdown | MarginCushion]]:
        for name in RULES:
            rule: DailyLoss | Drawdown | MarginCushion | None = getattr(self, name)
            if rule is not None:
                yield name, rule

    @property
    def every(self) -> timedelta:
        return timedelta(seconds=float(self.ask_seconds))

    @property
    def max_age(self) -> timedelta:
        return timedelta(seconds=float(self.max_age_seconds))

    @property
    def confirm_span(self) -> timedelta:
        return timedelta(seconds=float(self.confirm_seconds))


class CooldownAction(StrEnum):
    """What becomes of a position that is opened in a cooldown: one alert, or an alert and a close."""

    NOTIFY = "notify"
    CLOSE = "close"


class Cooldown(Section):
    """For ``minutes`` after an order of a stop was filled, ``action`` handles what is opened on the same underlying in
    the same account. Stops are stop, trailing, breakeven, delta, the disaster stop and stops of the account; not
    targets, time rules and manual closes."""

    minutes: Annotated[Number, Field(gt=0, le=10080)]
    action: CooldownAction = CooldownAction.NOTIFY

    @property
    def span(self) -> timedelta:
        return timedelta(minutes=float(self.minutes))


RULES = ("daily_loss", "drawdown", "margin_cushion")
