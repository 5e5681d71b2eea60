"""What has become of decisions and orders since the start of the process, counted from what the journal records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from host_service.metric_families import OTHER, Distribution
from position_manager.engine import account_watch, close_requests, cooldown
from position_manager.orders.intents import Intent, State
from position_manager.rules.evaluation import Rule

ACKNOWLEDGED, FILLED = "acknowledged", "filled"
STAGES = (ACKNOWLEDGED, FILLED)
TRIP_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
WRITE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

ACCOUNT_STOP, MANUAL = "account_stop", "manual"
RULES = (*(rule.value for rule in Rule if rule is not Rule.ACCOUNT), cooldown.RULE, ACCOUNT_STOP, MANUAL)

OUTCOMES: Mapping[State, str] = {
    State.SENDING: "sent",
    State.FILLED: "filled",
    State.CANCELLED: "cancelled",
    State.REJECTED: "rejected",
    State.UNKNOWN: "unknown",
    State.LOST: "lost",
    State.LOCKED: "locked",
}

_IN_SIGHT = frozenset({State.SENDING, State.WORKING, State.PARTIAL})


@dataclass(frozen=True)
class OrderCounts:
    """By rule, by outcome, by stage; ``writes``: how long the transactions of the journal took."""

    decisions: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))
    orders: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES.values(), 0))
    trips: Mapping[str, Distribution] = field(
        default_factory=lambda: {stage: Distribution.empty(TRIP_BOUNDS) for stage in STAGES}
    )
    writes: Distribution = field(default_factory=lambda: Distribution.empty(WRITE_BOUNDS))


class OrderCounter:
    """Observes a journal. For one thread."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """``clock`` is that of the journal."""
        self._clock = clock
        empty = OrderCounts()
        self._decisions, self._orders = Counter(empty.decisions), Counter(empty.orders)
        self._trips, self._writes = dict(empty.trips), empty.writes

    def counts(self) -> OrderCounts:
        return OrderCounts(dict(self._decisions), dict(self._orders), dict(self._trips), self._writes)

    def on_decided(self, rule: str) -> None:
        self._decisions[label_of(rule)] += 1

    def on_changed(self, old: Intent, new: Intent) -> None:
        # Of a combination the first leg stands for the order; what was never sent is none.
        if new.follows_a_lead or new.sent is None:
            return
        if new.state is not old.state and (outcome := OUTCOMES.get(new.state)) is not None:
            self._orders[outcome] += 1
        if old.state is State.SENDING and new.perm_id and not old.perm_id:
            self._observe(ACKNOWLEDGED, new.sent)
        # A stop that rests at the broker waits for its price.
        if new.state is State.FILLED and old.state in _IN_SIGHT and not new.stop:
            self._observe(FILLED, new.sent)

    def on_committed(self, seconds: float) -> None:
        self._writes = self._writes.observed(seconds)

    def _observe(self, stage: str, sent: datetime) -> None:
        # A clock that was set back must not give a negative time.
        self._trips[stage] = self._trips[stage].observed(max(0.0, (self._clock() - sent).total_seconds()))


def label_of(rule: str) -> str:
    """The value of the label for a rule as the journal names it."""
    if rule.startswith(account_watch.RULE):
        return ACCOUNT_STOP
    if rule.startswith(close_requests.RULE):
        return MANUAL
    return rule if rule in RULES else OTHER
