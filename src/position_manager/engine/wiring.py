"""Puts the engine's parts together: each receives the collaborators that it uses, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from position_manager import connection_state as link
from position_manager.engine.account_watch import AccountWatch
from position_manager.engine.assignment_watch import AssignmentWatch
from position_manager.engine.bars import Bars
from position_manager.engine.close_requests import CloseRequests
from position_manager.engine.closer import Closer, ClosingParts
from position_manager.engine.combo_closer import ComboCloser
from position_manager.engine.cooldown import Cooldowns
from position_manager.engine.decisions import Decisions
from position_manager.engine.disaster_stops import DisasterStops
from position_manager.engine.dry_run import DryRun
from position_manager.engine.escalation import Escalation
from position_manager.engine.followed_orders import FollowedOrders
from position_manager.engine.foreign_exits import ForeignExits
from position_manager.engine.gate_facts import GateFacts
from position_manager.engine.halt_watch import HaltWatch
from position_manager.engine.ladder_starts import LadderStarts
from position_manager.engine.link_status import LinkStatus
from position_manager.engine.moved_stops import MovedStops
from position_manager.engine.quote_requests import QuoteRequests
from position_manager.engine.releasing import Releasing
from position_manager.engine.sending import Sender, Unwritten
from position_manager.engine.sending_combo import ComboSender
from position_manager.engine.shared import Shared
from position_manager.engine.syncing import Syncing
from position_manager.engine.unit_evaluator import UnitEvaluator
from position_manager.engine.worthless_wings import Wings


def followed_orders(shared: Shared) -> FollowedOrders:
    return FollowedOrders(
        access=shared.access,
        agenda=shared.agenda,
        broker=shared.broker,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        instruments=shared.instruments,
        locks=shared.locks,
        notices=shared.notices,
    )


def closer(shared: Shared, orders: FollowedOrders) -> Closer:
    """The closer, with its parts."""
    decisions = Decisions(
        access=shared.access, guard=shared.guard, in_flight=shared.in_flight, instruments=shared.instruments
    )
    facts = GateFacts(
        access=shared.access,
        calendar=shared.calendar,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
    )
    foreign = ForeignExits(
        access=shared.access,
        agenda=shared.agenda,
        broker=shared.broker,
        clock=shared.clock,
        config=shared.config,
        instruments=shared.instruments,
        notices=shared.notices,
        tasks=shared.tasks,
        view=shared.view,
    )
    dry_run = DryRun(
        foreign,
        access=shared.access,
        broker=shared.broker,
        calendar=shared.calendar,
        clock=shared.clock,
        guard=shared.guard,
        halts=shared.halts,
        view=shared.view,
    )
    bars = Bars(
        decisions.write_pending,
        access=shared.access,
        agenda=shared.agenda,
        clock=shared.clock,
        config=shared.config,
        notices=shared.notices,
    )
    escalation = Escalation(
        decisions,
        dry_run,
        bars,
        access=shared.access,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        locks=shared.locks,
        notices=shared.notices,
    )
    parts = ClosingParts(
        wings=Wings(
            access=shared.access, agenda=shared.agenda, clock=shared.clock, guard=shared.guard, notices=shared.notices
        ),
        decisions=decisions,
        sender=Sender(
            Unwritten(decisions.write_unwritten, decisions.on_written),
            facts=facts,
            access=shared.access,
            broker=shared.broker,
            config=shared.config,
            guarded=shared.guarded,
            halts=shared.halts,
            tasks=shared.tasks,
        ),
        dry_run=dry_run,
        bars=bars,
        escalation=escalation,
        foreign=foreign,
        ladder_starts=LadderStarts(
            dry_run, bars, access=shared.access, calendar=shared.calendar, config=shared.config, notices=shared.notices
        ),
        combos=ComboCloser(
            access=shared.access,
            agenda=shared.agenda,
            clock=shared.clock,
            in_flight=shared.in_flight,
            locks=shared.locks,
            notices=shared.notices,
            tasks=shared.tasks,
            sender=ComboSender(
                facts=facts,
                access=shared.access,
                broker=shared.broker,
                guard=shared.guard,
                guarded=shared.guarded,
                halts=shared.halts,
            ),
            orders=orders,
            store=decisions.store,
            usable=dry_run.usable,
            policy=escalation.policy,
            barred=bars.on_combo,
            would_bar=dry_run.refusal,
            is_wanted=decisions.is_wanted,
        ),
    )
    return Closer(
        parts,
        orders,
        access=shared.access,
        agenda=shared.agenda,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        in_flight=shared.in_flight,
        instruments=shared.instruments,
        locks=shared.locks,
        notices=shared.notices,
        tasks=shared.tasks,
    )


def account_watch(shared: Shared, closer: Closer) -> AccountWatch:
    return AccountWatch(
        closer,
        access=shared.access,
        agenda=shared.agenda,
        broker=shared.broker,
        calendar=shared.calendar,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        guarded=shared.guarded,
        halts=shared.halts,
        in_flight=shared.in_flight,
        instruments=shared.instruments,
        locks=shared.locks,
        notices=shared.notices,
        tasks=shared.tasks,
    )


def cooldowns(shared: Shared, closer: Closer) -> Cooldowns:
    return Cooldowns(
        closer,
        access=shared.access,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        halts=shared.halts,
        instruments=shared.instruments,
        locks=shared.locks,
        notices=shared.notices,
        view=shared.view,
    )


def assignment_watch(shared: Shared) -> AssignmentWatch:
    return AssignmentWatch(
        access=shared.access,
        broker=shared.broker,
        calendar=shared.calendar,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        notices=shared.notices,
        tasks=shared.tasks,
    )


def disaster_stops(shared: Shared, orders: FollowedOrders, closer: Closer) -> DisasterStops:
    return DisasterStops(
        orders,
        closer,
        access=shared.access,
        agenda=shared.agenda,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        halts=shared.halts,
        in_flight=shared.in_flight,
        locks=shared.locks,
        notices=shared.notices,
        tasks=shared.tasks,
        view=shared.view,
    )


def unit_evaluator(shared: Shared, closer: Closer) -> UnitEvaluator:
    return UnitEvaluator(
        closer,
        access=shared.access,
        connection=shared.connection,
        guard=shared.guard,
        halts=shared.halts,
        locks=shared.locks,
    )


def moved_stops(shared: Shared) -> MovedStops:
    return MovedStops(access=shared.access, guard=shared.guard, in_flight=shared.in_flight)


def halt_watch(
    shared: Shared, claim: Callable[[Iterable[str]], str], on_event: Callable[[link.Event], None]
) -> HaltWatch:
    return HaltWatch(
        claim,
        on_event,
        access=shared.access,
        agenda=shared.agenda,
        clock=shared.clock,
        connection=shared.connection,
        guarded=shared.guarded,
        halts=shared.halts,
        notices=shared.notices,
    )


def quote_requests(
    shared: Shared, period: timedelta, probe_after: timedelta, on_event: Callable[[link.Event], None]
) -> QuoteRequests:
    return QuoteRequests(
        period,
        probe_after,
        on_event,
        broker=shared.broker,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        tasks=shared.tasks,
    )


def releasing(
    shared: Shared, closer: Closer, accounts: AccountWatch, syncing: Syncing, status: LinkStatus
) -> Releasing:
    return Releasing(
        closer,
        accounts,
        syncing,
        status,
        access=shared.access,
        agenda=shared.agenda,
        clock=shared.clock,
        connection=shared.connection,
        guard=shared.guard,
        instruments=shared.instruments,
        locks=shared.locks,
        notices=shared.notices,
        view=shared.view,
    )


def close_requests(shared: Shared, closer: Closer) -> CloseRequests:
    return CloseRequests(
        closer,
        clock=shared.clock,
        guard=shared.guard,
        halts=shared.halts,
        instruments=shared.instruments,
        locks=shared.locks,
    )
