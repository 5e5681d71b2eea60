"""The screen as a person sees it, at two widths, for a manager at work, with a fault, and away."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.unit.position_manager import journal_samples
from tests.unit.position_manager import status_samples as samples

from position_manager.halt import Halt
from position_manager.journal.reader import JournalReader
from position_manager.orders.intents import Side
from position_manager.reports import absent
from position_manager.reports.status import Status
from position_manager.reports.status_view import in_order, next_step, show, show_absent

CLOSED = replace(samples.CONDOR, text="market closed: opens 2026-11-24T09:30:00-05:00")


def seen(print_to: Callable[[Console], None], width: int) -> str:
    screen = io.StringIO()
    print_to(Console(file=screen, width=width))
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines())


AT_WORK_80 = """\
position-manager 0.1.0, paper: READY since 12:46:00 (2 h 14 min)
Time       2026-11-23 15:00:00 UTC
Accounts   DU*****67
Synced     11 s ago; orders in 24 h: 3; realised today: 125.50 USD
Rules      /etc/position-manager/position-manager.yml

Position             Qty   Price        P&L   To stop  To target     Unprot.
SPY 2026-12-18 450P   -2    2.80     -60.00  0.95 34%   2.30 82%        12 s
SPY condor             1       -          -         -          -  1 h 12 min
AAPL                 100  179.98  -1,027.00         -          -         0 s

SPY 2026-12-18 450P guarded
  stop: percent_of_premium 50 (defaults.stop)
  target: percent_of_premium 80 (defaults.target)

SPY condor UNPROTECTED for 42 s: no usable quote: SPY 2026-12-18 420P: stale:
bid 0.55, ask 0.60, 42.0 s old
  stop: percent_of_premium 100 (groups.SPY condor.stop)

AAPL closing: stop: bid 179.98 is at or below 180 (price 180)
  stop: price 180 (positions[1].stop)

Orders under way
  SELL 100 AAPL at 179.95: PARTIAL, 40 filled, because of stop, 3 s ago
(01KAQ0000000000000000000AB)

Next step  SPY condor is not guarded: no usable quote: SPY 2026-12-18 420P:
           stale: bid 0.55, ask 0.60, 42.0 s old"""

AT_WORK_120 = """\
position-manager 0.1.0, paper: READY since 12:46:00 (2 h 14 min)
Time       2026-11-23 15:00:00 UTC
Accounts   DU*****67
Synced     11 s ago; orders in 24 h: 3; realised today: 125.50 USD
Rules      /etc/position-manager/position-manager.yml

Position             Qty   Entry   Price        P&L         To stop       To target  Unprotected
SPY 2026-12-18 450P   -2    2.50    2.80     -60.00  3.75: 0.95 34%  0.50: 2.30 82%         12 s
SPY condor             1    1.20       -          -               -               -   1 h 12 min
AAPL                 100  190.25  179.98  -1,027.00               -               -          0 s

SPY 2026-12-18 450P guarded
  stop: percent_of_premium 50 (defaults.stop)
  target: percent_of_premium 80 (defaults.target)

SPY condor UNPROTECTED for 42 s: no usable quote: SPY 2026-12-18 420P: stale: bid 0.55, ask 0.60, 42.0 s old
  stop: percent_of_premium 100 (groups.SPY condor.stop)

AAPL closing: stop: bid 179.98 is at or below 180 (price 180)
  stop: price 180 (positions[1].stop)

Orders under way
  SELL 100 AAPL at 179.95: PARTIAL, 40 filled, because of stop, 3 s ago (01KAQ0000000000000000000AB)

Next step  SPY condor is not guarded: no usable quote: SPY 2026-12-18 420P: stale: bid 0.55, ask 0.60, 42.0 s old"""

IN_TROUBLE_80 = """\
position-manager 0.1.0, live: DOWN since 14:58:25 (1 min)
Time       2026-11-23 15:00:00 UTC
Why        refused: nothing listens at 127.0.0.1:4001
HALTED     kill switch /var/lib/position-manager/main/HALT exists (to end it: rm
           /var/lib/position-manager/main/HALT)
Data       farms down: usfarm
Accounts   U1****21, U7****99
Synced     not yet; orders in 24 h: 0; realised today: nothing
Rules      /etc/position-manager/position-manager.yml

No positions.

Locked
  QQQ 2026-12-18 400C in DU*****67 for 5 min: LOCKED: 2 live orders, 0 of 1
executed

Next step  Find out why, then end it: kill switch
           /var/lib/position-manager/main/HALT exists (to end it: rm
           /var/lib/position-manager/main/HALT)"""


@pytest.mark.parametrize(
    ("status", "width", "screen"),
    [(samples.READY, 80, AT_WORK_80), (samples.READY, 120, AT_WORK_120), (samples.TROUBLE, 80, IN_TROUBLE_80)],
)
def test_the_screen(status: Status, width: int, screen: str) -> None:
    assert seen(lambda console: show(status, console), width) == screen


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = replace(samples.CONDOR, name="SPY iron condor of December, wide wings", profit=Decimal("-123456.70"))
    status = replace(samples.READY, units=(long, samples.PUT))
    lines = seen(lambda console: show(status, console), width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum("-123,456.70" in line for line in lines) == 1, "a number is never broken"


@pytest.mark.parametrize("width", [80, 90, 100, 110, 120])
def test_no_column_is_cut(width: int) -> None:
    """The wide table of such prices needs more than 100 columns."""
    assert samples.PUT.stop is not None and samples.PUT.target is not None
    stop = replace(samples.PUT.stop, level=Decimal("148.4025"), distance=Decimal("1134.2325"), percent=Decimal(19))
    target = replace(samples.PUT.target, level=Decimal("371.0055"), distance=Decimal("188.3645"), percent=Decimal(103))
    unit = replace(samples.PUT, stop=stop, target=target, profit=Decimal("-11155.30"))
    status = replace(samples.READY, units=(unit,))
    header = next(line for line in seen(lambda console: show(status, console), width).splitlines() if "Qty" in line)
    assert header.endswith(("Unprotected", "Unprot."))


def test_a_closed_market_is_no_alarm() -> None:
    status = replace(samples.READY, units=(CLOSED, samples.CONDOR))
    text = seen(lambda console: show(status, console), 120)
    assert "SPY condor unprotected for 42 s: market closed" in text
    assert "SPY condor UNPROTECTED for 42 s: no usable quote" in text


def test_markup_in_a_text_is_no_markup() -> None:
    status = replace(samples.TROUBLE, why="[bold]x[/bold] [/]", halts=())
    assert "Why        [bold]x[/bold] [/]" in seen(lambda console: show(status, console), 120)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (
            {"phase": "AUTH_NEEDED"},
            "Log the gateway in: approve the login in IBKR Mobile, and see: gateway-watch status",
        ),
        ({"halts": (samples.HALT,), "phase": "HALTED"}, f"Find out why, then end it: {samples.HALT}"),
        (
            {"locks": (samples.LOCK,)},
            "Check the position and its orders at the broker, then: position-manager release 'QQQ 2026-12-18 400C'",
        ),
        ({"phase": "LINK_LOST", "why": "1100"}, "Check the gateway: gateway-watch status. 1100"),
        ({"phase": "MAINTENANCE"}, "Wait: it goes on by itself."),
        ({"phase": "SYNCING"}, "Wait: it goes on by itself."),
        ({"units": (samples.CONDOR,)}, f"SPY condor is not guarded: {samples.CONDOR.text}"),
        ({"units": (CLOSED,)}, "None."),
        ({}, "None."),
    ],
)
def test_the_next_step(change: dict[str, Any], step: str) -> None:
    quiet = replace(samples.READY, units=(samples.PUT,))
    assert next_step(replace(quiet, **change)) == step


@pytest.mark.parametrize(
    ("change", "good"),
    [({}, True), ({"phase": "DOWN"}, False), ({"halts": ("x",)}, False), ({"locks": (samples.LOCK,)}, False)],
)
def test_what_is_in_order(change: dict[str, Any], good: bool) -> None:
    assert in_order(replace(samples.READY, **change)) is good


ABSENT_80 = """\
position-manager does not run: NOTHING IS GUARDED
Time       2026-11-23 15:10:00 UTC
Why        nothing listens at /run/x
HALTED     kill switch /s/HALT exists (to end it: rm /s/HALT)
Journal    journal.db (mode paper, accounts DU*****67)

Held when it was counted last
  1 SPY 2026-12-18 500C in DU*****67
  100 AAPL in DU*****67

Locked
  AAPL in DU*****67 for 9 min: REJECTED: 201 Order rejected for DU*****67:
margin

Next step  Start it: systemctl start position-manager, or see why it ended:
           journalctl -eu position-manager"""


def away(path: Path) -> absent.Absent:
    journal_samples.write(path)
    halt = Halt("kill switch /s/HALT exists", None, "rm /s/HALT")
    with JournalReader(path) as reader:
        now = journal_samples.NOW + timedelta(minutes=10)
        return absent.read(reader, "nothing listens at /run/x", (halt,), now)


def test_the_screen_of_a_service_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = away(Path("journal.db"))
    assert seen(lambda console: show_absent(found, "position-manager", console), 80) == ABSENT_80


def test_a_service_that_is_away_as_json(tmp_path: Path) -> None:
    text = away(tmp_path / "journal.db").to_json()
    found = json.loads(text)
    assert found["running"] is False
    assert [(h["label"], h["quantity"]) for h in found["holdings"]] == [("SPY 2026-12-18 500C", "1"), ("AAPL", "100")]
    assert [lock["label"] for lock in found["locks"]] == ["AAPL"]
    assert journal_samples.ACCOUNT.encode() not in text


def test_an_open_intent_is_shown_while_the_service_is_away(tmp_path: Path) -> None:
    day = journal_samples.Day(tmp_path / "journal.db")
    day.hold(journal_samples.STOCK, 100)
    intent = day.send(journal_samples.STOCK, Side.SELL, 100, "180")
    day.journal.close()
    with JournalReader(tmp_path / "journal.db") as reader:
        found = absent.read(reader, "away", (), intent.created + timedelta(seconds=90))
    text = seen(lambda console: show_absent(found, "position-manager", console), 120)
    assert f"  SELL 100 AAPL at 180: SENDING, 0 filled, because of stop, 1 min ago ({intent.id})" in text
