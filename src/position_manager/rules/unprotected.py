"""How long units were unprotected, counted from verdicts and the clock. Pure.

The time between two evaluations belongs to the verdict before it: what is known at 10:00:00 holds until the next
evaluation.
When the next evaluation comes too late, the whole period counts as unprotected, because nothing was evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from position_manager.rules.evaluation import Blind, Cause, Verdict

NOT_WATCHED = "not watched"


@dataclass(frozen=True)
class Unprotected:
    """The count of one unit: seconds by cause (a Cause's value, or NOT_WATCHED). ``state``: the cause since the last
    evaluation, empty while protected; ``looked_at``: that evaluation; ``since``: when the present unprotected period
    started."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    state: str = ""
    looked_at: datetime | None = None
    since: datetime | None = None

    @property
    def total(self) -> float:
        """All unprotected seconds."""
        return sum(self.seconds.values())

    @property
    def in_session(self) -> float:
        """Those without the time in which the market was closed."""
        return self.total - self.seconds.get(Cause.MARKET_CLOSED.value, 0.0)

    def after_verdict(self, verdict: Verdict, now: datetime, patience: timedelta) -> Unprotected:
        """The count after an evaluation. ``patience``: the longest period between two evaluations that counts as
        watched. A clock that went back adds nothing."""
        state = verdict.cause.value if isinstance(verdict, Blind) else ""
        passed = timedelta() if self.looked_at is None else max(timedelta(), now - self.looked_at)
        seconds = self.seconds
        over = NOT_WATCHED if passed > patience else self.state
        if over and passed:
            seconds = {**seconds, over: seconds.get(over, 0.0) + passed.total_seconds()}
        # A verdict of protected ends the stretch; a change of cause does not.
        since = None if not state else self.since or now
        return Unprotected(seconds, state, now, since)

    def to_json(self) -> str:
        """For the journal."""
        return _COUNT.dump_json(self).decode()

    @staticmethod
    def from_json(text: str) -> Unprotected:
        """Raises ValueError if the text is no count."""
        try:
            return _COUNT.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"this is no count of unprotected seconds: {error}") from error


_COUNT = TypeAdapter(Unprotected)
