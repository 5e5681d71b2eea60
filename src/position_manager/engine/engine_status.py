"""The engine's state as one picture (`status.Status`)."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path

from host_service.release import release
from ib_connection.accounts import masked
from position_manager.engine.account_watch import AccountPicture
from position_manager.engine.engine import Engine
from position_manager.engine.left_out import Unguarded
from position_manager.model import Quote
from position_manager.orders.caps import windows
from position_manager.reports.status import (
    AccountRuleStatus,
    AccountStatus,
    CooldownStatus,
    ExposureStatus,
    IntentStatus,
    LegStatus,
    LockStatus,
    Status,
    UnitStatus,
)
from position_manager.rules.evaluation import Blind, Cause, Hold, Rule
from position_manager.rules.groups import Unit
from position_manager.rules.rule_set import Section
from position_manager.sessions.hours import is_open


def status_of(engine: Engine, config_path: str) -> Status:
    """The current status. Raises JournalError if the journal cannot be read."""
    shared = engine.shared
    now = shared.clock.now()
    journal = shared.access.opened
    return Status(
        time=now,
        version=release(),
        mode=shared.config().mode.value,
        accounts=tuple(masked(account) for account in shared.guarded.names),
        new_accounts=tuple(masked(account) for account in engine.connector.new_accounts),
        phase=shared.connection.state.phase.value,
        since=engine.link_status.since,
        why="" if engine.ready else engine.link_status.why,
        halts=tuple(f"{halt.reason} (to end it: {halt.remedy})" for halt in shared.halts.present),
        degraded=tuple(sorted(shared.connection.state.degraded)),
        last_sync=engine.syncing.last,
        units=(
            *(_unit(engine, unit, now) for unit in shared.guard.units),
            *map(_left_out, engine.left_out.present.values()),
        ),
        intents=()
        if journal is None
        else tuple(
            IntentStatus(
                id=intent.id,
                account=masked(intent.account),
                con_id=intent.con_id,
                label=shared.instruments.label(intent.con_id),
                side=intent.side.value,
                quantity=intent.quantity,
                filled=intent.filled,
                limit=intent.limit,
                state=intent.state.value,
                rule=intent.rule,
                reason=intent.reason,
                created=intent.created,
            )
            for intent in journal.open_intents()
        ),
        locks=tuple(
            LockStatus(
                masked(lock.account), lock.con_id, shared.instruments.label(lock.con_id), lock.reason, lock.since
            )
            for lock in shared.locks.present.values()
        ),
        orders_today=0 if journal is None else journal.sent_since(windows(now)[1]),
        realized=realized_since(engine, _midnight(engine, now)),
        config=config_path,
        gateway=_gateway(shared.config().gateway.login_file),
        open_markets=_open_markets(engine, now),
        account_stops=tuple(_account(picture, now) for picture in engine.accounts.pictures()),
        cooldowns=_cooldowns(engine),
        exposures=tuple(
            ExposureStatus(
                masked(each.position.account),
                each.position.instrument.label,
                each.position.quantity,
                tuple(f"{warning.risk}: {warning.text}" for warning in each.warnings),
                each.dividend,
            )
            for each in engine.assignments.exposures()
        ),
    )


def _gateway(login_file: Path | None) -> str:
    """Each gateway's service writes into a directory of its name."""
    return "" if login_file is None else login_file.parent.name


def _open_markets(engine: Engine, now: datetime) -> tuple[str, ...]:
    """The guarded contracts whose regular session is open."""
    instruments = {leg.instrument.con_id: leg.instrument for unit in engine.shared.guard.units for leg in unit.legs}
    calendar = engine.shared.calendar
    return tuple(sorted(each.label for each in instruments.values() if is_open(calendar.sessions(each, now), now)))


def _cooldowns(engine: Engine) -> tuple[CooldownStatus, ...]:
    rule = engine.shared.config().cooldown
    if rule is None:
        return ()
    return tuple(
        CooldownStatus(masked(account), symbol, cooling.rule, cooling.label, rule.action.value, ends)
        for (account, symbol), (cooling, ends) in engine.cooldowns.under_way().items()
    )


def _account(picture: AccountPicture, now: datetime) -> AccountStatus:
    values, memory = picture.values, picture.memory
    return AccountStatus(
        account=masked(picture.account),
        currency=memory.currency,
        net_liquidation=None if values is None else values.net_liquidation,
        excess_liquidity=None if values is None else values.excess_liquidity,
        age=None if values is None else (now - values.time).total_seconds(),
        day_start=memory.day_start,
        best=memory.best,
        to_close=len(memory.targets),
        rules=tuple(
            AccountRuleStatus(state.rule, state.action.value, state.verdict.value, state.text)
            for state in picture.states
        ),
    )


def _midnight(engine: Engine, now: datetime) -> datetime:
    zone = engine.shared.config().hours.zone
    return datetime.combine(now.astimezone(zone).date(), time(), zone)


def realized_since(engine: Engine, begin: datetime) -> dict[str, Decimal]:
    """The result realised by executions received since then, by currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for at, currency, amount in engine.realized.values():
        if at >= begin:
            sums[currency] += amount
    return dict(sums)


def _unit(engine: Engine, unit: Unit, now: datetime) -> UnitStatus:
    shared = engine.shared
    guard = shared.guard
    quotes = guard.market(unit, now).quotes
    priced = len(quotes) == len(unit.legs) and all(q.bid is not None and q.ask is not None for q in quotes.values())
    verdict, count = guard.verdicts.get(unit.key), guard.counts.get(unit.key)
    closing, shadow = engine.closer.decisions.of(unit), engine.closer.would_have(unit)
    resolved = guard.rules[unit.key]
    hold = verdict.hold if isinstance(verdict, Blind) else verdict if isinstance(verdict, Hold) else None
    if isinstance(verdict, Blind):
        word = "unprotected"
        text = verdict.text if verdict.cause is Cause.BLOCKED else f"{verdict.cause}: {verdict.text}"
    elif closing is not None:
        word, text = "closing", f"{closing.text}{' (by a combination)' if closing.combo else ''}"
    elif shadow is not None:
        word, text = "closed in shadow", shadow
    else:
        word, text = "guarded", "; ".join(verdict.pending) if isinstance(verdict, Hold) else ""
        if (waits := engine.accounts.waits(unit)) is not None:
            text = "; ".join(filter(None, (text, f"an account stop closes it after {waits}")))
    return UnitStatus(
        account=masked(unit.account),
        key=unit.shown_key,
        name=unit.name,
        group=unit.group,
        quantity=unit.quantity * unit.direction if len(unit.legs) == 1 else unit.quantity,
        entry=unit.entry,
        price=unit.price(quotes) if priced else None,
        profit=unit.profit(quotes) if priced else None,
        currency=unit.legs[0].instrument.currency,
        verdict=word,
        text=text,
        rules=tuple(
            f"{name}: {_wording(rule)} ({resolved.origins[name]}){_done(name, guard.levels_done(unit))}"
            for name, rule in resolved.rules.own_rules.items()
            if name in resolved.origins
        ),
        stop=None if hold is None else hold.stop,
        target=None if hold is None else hold.target,
        unprotected_seconds=0.0 if count is None else count.in_session,
        unprotected_since=None if count is None else count.since,
        legs=tuple(
            LegStatus(
                leg.instrument.con_id,
                leg.instrument.label,
                leg.position.quantity,
                *_sides(quotes.get(leg.instrument.con_id)),
                _age(quotes.get(leg.instrument.con_id), now),
            )
            for leg in unit.legs
        ),
        marks=() if hold is None else hold.distances,
    )


def _left_out(each: Unguarded) -> UnitStatus:
    held = each.held
    return UnitStatus(
        account=masked(held.account),
        key=f"{masked(held.account)} contract {held.con_id}",
        name=held.label,
        group=None,
        quantity=held.quantity,
        entry=Decimal(0),
        price=None,
        profit=None,
        currency=held.currency,
        verdict="unprotected",
        text=f"{Cause.KIND}: {each.text}",
        rules=(),
        stop=None,
        target=None,
        unprotected_seconds=each.count.in_session,
        unprotected_since=each.count.since,
        # It has no quote, and none is missing.
        legs=(),
    )


def _wording(rule: Section | str) -> str:
    if isinstance(rule, str):
        return rule
    given = rule.model_dump(mode="json", exclude_none=True).items()
    return ", ".join(f"{name} {_list(value) if isinstance(value, list) else value}" for name, value in given)


def _list(entries: list[dict[str, object]]) -> str:
    """The steps or levels of a rule, in order."""
    return "; ".join(", ".join(f"{name} {value}" for name, value in entry.items()) for entry in entries)


def _done(rule: str, levels: tuple[int, ...]) -> str:
    return f"; done: {', '.join(map(str, levels))}" if levels and rule == Rule.PARTIAL else ""


def _sides(quote: Quote | None) -> tuple[Decimal | None, Decimal | None]:
    return (None, None) if quote is None else (quote.bid, quote.ask)


def _age(quote: Quote | None, now: datetime) -> float | None:
    return None if quote is None else (now - quote.time).total_seconds()
