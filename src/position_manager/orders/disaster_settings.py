"""The configuration of the disaster stop."""

from __future__ import annotations

from decimal import Decimal

from position_manager.rules.rule_set import Fraction, Positive, Section


class DisasterStop(Section):
    """A stop-limit that rests at the broker while the manager is away: it triggers when ``percent_of_premium`` is
    lost and trades down to ``limit_percent`` of the trigger price beyond it. It must lie beyond every other stop.
    ``short_legs_percent``: in groups one rests for each short leg, at this percent of that leg's own premium; without
    it the legs of groups have none."""

    percent_of_premium: Positive
    limit_percent: Fraction = Decimal(20)
    short_legs_percent: Positive | None = None
