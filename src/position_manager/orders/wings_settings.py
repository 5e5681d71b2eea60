"""The configuration of which long legs of a group are left to expire."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from position_manager.rules.rule_set import Number, Section, Whole


class WorthlessWings(Section):
    """When a rule closes a group, a long option of it whose middle price is at or below the bound is left to expire
    instead of sold, once the short legs are closed. The bound: so many price increments (``ticks``), or a percentage of
    the group's premium (``percent_of_premium``)."""

    ticks: Annotated[Whole, Field(ge=1, le=100)] | None = None
    percent_of_premium: Annotated[Number, Field(gt=0, le=25)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ticks is None) is (self.percent_of_premium is None):
            raise ValueError("must have exactly one of ticks, percent_of_premium")
        return self
