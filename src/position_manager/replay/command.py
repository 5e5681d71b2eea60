"""`position-manager replay`: read a tape, play it, show the outcome of each unit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from position_manager.account.stops import Fired
from position_manager.config.schema import Config
from position_manager.refused import RefusedError
from position_manager.replay.account import ReplayedAccount, SeenRisk, assignment_risks
from position_manager.replay.journal_tape import is_journal, read_journal
from position_manager.replay.replay import Outcome, replay
from position_manager.replay.tape import Tick, read_positions, read_tape
from position_manager.sessions.fallback_calendar import CalendarError, KnownHours, ask


def run(
    config: Config,
    tape: Path,
    positions: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
    net_liquidation: Decimal | None = None,
) -> int:
    """Exit status 0. A tape needs the file of ``positions``, a journal has its own. ``net_liquidation``: what the
    account is worth at the start; without it stops of the account are not replayed.

    Raises ConfigError for a bad file, JournalError, RefusedError without positions or the calendar, OSError.
    """
    if is_journal(tape):
        held, ticks = read_journal(tape)
    elif positions is None:
        raise RefusedError(f"{tape} is a tape: name the file of its positions with --positions.")
    else:
        held = read_positions(positions)
        ticks = read_tape(tape, held)
    account = None if net_liquidation is None else ReplayedAccount(config, net_liquidation)
    outcomes = replay(held, ticks, config, _calendar(config.hours.fallback_calendar, ticks), account)
    risks = assignment_risks(held, ticks, config)
    zone, console = config.hours.zone, Console(highlight=False)
    if plot is not None:
        from position_manager.replay.plot import draw

        draw(outcomes, plot, zone, config.quotes.max_age)
    if as_json:
        console.out(
            json.dumps(
                [
                    *map(_as_json, outcomes),
                    *map(_stop_as_json, account.fired if account else ()),
                    *map(_risk_as_json, risks),
                ],
                indent=2,
            ),
            highlight=False,
        )
    else:
        _show(outcomes, zone, console)
        _show_account(config, account, zone, console)
        for seen in risks:
            when = f"{seen.time.astimezone(zone):%H:%M:%S}"
            console.print(f"{seen.contract}: {seen.risk.risk} at {when}: {seen.risk.text}", markup=False)
    return 0


def _calendar(name: str | None, ticks: Sequence[Tick]) -> KnownHours | None:
    if name is None:
        return None
    week = timedelta(days=7)
    first, last = ticks[0].quote.time - week, ticks[-1].quote.time + week
    try:
        return KnownHours(asyncio.run(ask(name, first.date(), last.date())).hours)
    except CalendarError as error:
        raise RefusedError(str(error)) from error


def _risk_as_json(seen: SeenRisk) -> dict[str, object]:
    return {
        "contract": seen.contract,
        "risk": seen.risk.risk.value,
        "seen_at": seen.time.isoformat(),
        "text": seen.risk.text,
    }


def _stop_as_json(fired: Fired) -> dict[str, object]:
    return {
        "account_stop": fired.rule,
        "action": fired.action.value,
        "fired_at": fired.at.isoformat(),
        "text": fired.text,
    }


def _show_account(config: Config, account: ReplayedAccount | None, zone: ZoneInfo, console: Console) -> None:
    if config.worthless_wings is not None:
        console.print("worthless_wings: not replayed, every leg counts at its side price", markup=False)
    if config.cooldown is not None:
        console.print("cooldown: not replayed, nothing is opened on a tape", markup=False)
    rules = config.account_stops
    if rules is None:
        return
    if account is None:
        console.print("account stops: not replayed; name the account's value with --net-liquidation", markup=False)
        return
    if rules.margin_cushion is not None:
        console.print("account margin_cushion: not replayed, a tape knows no margin", markup=False)
    for fired in account.fired:
        when = f"{fired.at.astimezone(zone):%H:%M:%S}"
        console.print(f"account {fired.rule} ({fired.action}) at {when}: {fired.text}", markup=False)


def _as_json(outcome: Outcome) -> dict[str, object]:
    closed = outcome.closed
    return {
        "unit": outcome.unit.name,
        "quantity": str(outcome.unit.quantity * outcome.unit.direction),
        "entry": str(outcome.unit.entry),
        "exit": None if outcome.exit is None else str(outcome.exit),
        "profit": None if outcome.profit is None else str(outcome.profit),
        "closed_at": None if outcome.closed_at is None else outcome.closed_at.isoformat(),
        "rule": None if closed is None else closed.rule.value,
        "text": None if closed is None else closed.text,
        "parts": [
            {
                "closed_at": part.time.isoformat(),
                "quantity": str(part.close.part),
                "exit": str(part.price),
                "profit": str(part.profit),
                "text": part.close.text,
            }
            for part in outcome.parts
        ],
        "unprotected_seconds": outcome.unprotected,
    }


def _show(outcomes: Sequence[Outcome], zone: ZoneInfo, console: Console) -> None:
    table = Table("Unit", "Closed", "Rule")
    for name in ("Entry", "Exit", "Profit", "Unprotected"):
        table.add_column(name, justify="right")
    for outcome in outcomes:
        when = "open" if outcome.closed_at is None else f"{outcome.closed_at.astimezone(zone):%H:%M:%S}"
        rule = "" if outcome.closed is None else outcome.closed.rule.value
        profit = "?" if outcome.profit is None else f"{outcome.profit:+,.2f}"
        out = "?" if outcome.exit is None else str(outcome.exit)
        left = f"{sum(outcome.unprotected.values()):.0f} s"
        table.add_row(
            outcome.unit.name,
            when,
            rule,
            str(outcome.unit.entry),
            out,
            profit,
            left,
        )
    console.print(table)
    for outcome in outcomes:
        for part in outcome.parts:
            when = f"{part.time.astimezone(zone):%H:%M:%S}"
            console.print(f"{outcome.unit.name}: {when} {part.close.text}, {part.profit:+,.2f}", markup=False)
        if outcome.closed is not None:
            console.print(f"{outcome.unit.name}: {outcome.closed.text}", markup=False)
        for cause, seconds in outcome.unprotected.items():
            console.print(f"{outcome.unit.name}: {seconds:.0f} s unprotected, {cause}", markup=False)
