"""Another position manager that sends for one of our accounts: the evidence for it, and when it no longer counts. Pure.

Two managers with different client ids that close the same position at the same time lead it through zero, as each of
them reads it before the order of the other has arrived. The evidence is what the broker shows: orders and executions
with our mark (`pm:`) that this journal did not write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ib_connection.accounts import masked
from position_manager.halt import Halt
from position_manager.orders.evidence import LIVE_STATUSES, Execution, OpenOrder
from position_manager.orders.intents import REF_PREFIX

QUIET_FOR = timedelta(minutes=2)
"""How long after its last trace another manager counts as present."""
HOST_QUIET_FOR = timedelta(seconds=5)
"""How long after the end of another one on this host nothing is sent: its last orders reach the broker meanwhile."""
DRILL_MARK = "drill-"
"""Prefix of the ids of the drill's orders: the drill closes only what it has bought itself."""
REMEDY = (
    "stop one of the managers, or give each its own accounts (key accounts); it ends by itself "
    f"{QUIET_FOR.total_seconds() / 60:g} minutes after the other one's last order or execution. An order of it that "
    "rests must be cancelled, in TWS or the Client Portal, if it no longer runs"
)
HOST_REMEDY = "stop one of the managers, or give each its own accounts (key accounts); it then ends by itself"


@dataclass(frozen=True)
class _Trace:
    what: str
    at: datetime


class Rivals:
    """What was seen of other managers. ``known`` returns whether an orderRef is in our journal; ``since`` is when the
    journal was created: an older order of our own client id may be one of a journal that was moved away."""

    def __init__(self, client_id: int, known: Callable[[str], bool], since: datetime) -> None:
        self._client_id = client_id
        self._known = known
        self._since = since
        self._ours: set[str] = set()
        self._trace: _Trace | None = None
        self._on_host: _Trace | None = None

    def see(
        self,
        accounts: Collection[str],
        orders: Iterable[OpenOrder],
        executions: Iterable[Execution],
        now: datetime,
    ) -> None:
        """What the broker shows at ``now``."""
        for order in orders:
            if (
                order.account in accounts
                and order.status in LIVE_STATUSES
                # A stray of our own client id is cancelled, and its contract is locked.
                and order.client_id not in (0, self._client_id)
                and self._is_foreign(order.ref)
            ):
                self._record(
                    f"its order {order.ref} of client {order.client_id} in {masked(order.account)} is live", now
                )
        for execution in executions:
            time = execution.fill.time
            if (
                execution.account in accounts
                and execution.client_id
                and (execution.client_id != self._client_id or time >= self._since)
                and now - time < QUIET_FOR
                and self._is_foreign(execution.ref)
            ):
                what = f"its order {execution.ref} of client {execution.client_id} in {masked(execution.account)}"
                self._record(f"{what} was executed at {time:%H:%M:%S %Z}", min(now, time))

    def _is_foreign(self, ref: str) -> bool:
        if not ref.startswith(REF_PREFIX) or ref.startswith(REF_PREFIX + DRILL_MARK) or ref in self._ours:
            return False
        if self._known(ref):
            self._ours.add(ref)
            return False
        return True

    def _record(self, what: str, at: datetime) -> None:
        if self._trace is None or at >= self._trace.at:
            self._trace = _Trace(what, at)

    def see_on_host(self, what: str, now: datetime) -> None:
        """``what``: who guards one of our accounts on this host; empty if nobody does."""
        if what:
            self._on_host = _Trace(what, now)

    def halt(self, now: datetime) -> Halt | None:
        """Why nothing may be sent now; None if no other manager was seen lately. A clock that was set back does not
        prolong it."""
        if self._on_host is not None and abs(now - self._on_host.at) >= HOST_QUIET_FOR:
            self._on_host = None
        if self._trace is not None and abs(now - self._trace.at) >= QUIET_FOR:
            self._trace = None
        if self._on_host is not None:
            return Halt(f"another position manager runs: {self._on_host.what}", self._on_host.at, HOST_REMEDY)
        if self._trace is not None:
            return Halt(f"another position manager sends: {self._trace.what}", self._trace.at, REMEDY)
        return None
