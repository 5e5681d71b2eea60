"""Rules over a recorded tape: the example of the documentation with its exact numbers, and tapes that are wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.unit.position_manager import journal_samples
from tests.unit.position_manager.engine_world import BEGIN, Manager, ManualClock, World, put

import position_manager
from position_manager.cli import main
from position_manager.config.errors import ConfigError
from position_manager.config.loading import load
from position_manager.config.schema import Config
from position_manager.replay.lines import line_of, stretches
from position_manager.replay.replay import Outcome, Sample, replay
from position_manager.replay.tape import COLUMNS, read_positions, read_tape

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "replay"
POSITIONS = read_positions(EXAMPLE / "positions.yml")
CONFIG = load(EXAMPLE / "rules.yml")
HEADER = ",".join(COLUMNS)
COMMAND = ["replay", str(EXAMPLE / "tape.csv"), "--positions", str(EXAMPLE / "positions.yml")]
COMMAND += ["--config", str(EXAMPLE / "rules.yml")]


def played(config: Config = CONFIG) -> tuple[Outcome, ...]:
    return replay(POSITIONS, read_tape(EXAMPLE / "tape.csv", POSITIONS), config)


def test_the_short_put_runs_through_its_stop_and_the_long_call_trails() -> None:
    put, call = played()
    assert put.closed is not None and call.closed is not None
    assert put.closed.text == (
        "stop: ask 5.2 is at or above 5 (100 % of the premium 2.5 lost), on 2 quotes in a row, at 10:01:25 EST"
    )
    assert (put.exit, put.profit) == (Decimal("5.20"), Decimal(-540))
    assert call.closed.rule == "trailing"
    assert (call.exit, call.profit) == (Decimal("3.45"), Decimal(95))


def test_a_gap_in_the_tape_counts_as_unprotected_once_the_quotes_are_too_old() -> None:
    # From 10:00:15 to 10:01:15 no line comes; for 10 of these 60 seconds the last quotes may be used.
    assert [outcome.unprotected for outcome in played()] == [{"no usable quote": 50.0}] * 2


def test_the_levels_are_those_of_the_rules() -> None:
    put, call = played()
    assert {(s.stop, s.target) for s in put.samples} == {(Decimal(5), Decimal("0.5"))}
    assert [s.trailing for s in call.samples][:4] == [None, None, None, Decimal("3.1")]
    assert call.samples[-1].trailing == Decimal("3.5")


@pytest.mark.parametrize(
    ("line", "reported"),
    [
        ("2026-11-23T10:00:00,put,1,2,,,", "2: time: must be like"),
        ("2026-11-23T10:00:00-05:00,straddle,1,2,,,", "2: contract: 'straddle' is not among the positions: put, call"),
        ("2026-11-23T10:00:00-05:00,put,x,2,,,", "2: bid: must be a number from 0 on"),
        ("2026-11-23T10:00:00-05:00,put,1,-2,,,", "2: ask: must be a number from 0 on"),
        ("2026-11-23T10:00:00-05:00,put,1,2,,-40,", "2: delta: must be a number from -1 to 1"),
        ("2026-11-23T10:00:00-05:00,put,1,2", "2: the line: has 4 cells, must have 7"),
        ("", "1: the whole file: has no quotes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reported: str) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text(f"{HEADER}\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_tape(tape, POSITIONS)
    assert f"{tape}:{reported}" in str(caught.value)


def test_lines_out_of_order_are_refused(tmp_path: Path) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text(f"{HEADER}\n2026-11-23T10:00:05Z,put,1,2,,,\n2026-11-23T10:00:00Z,put,1,2,,,\n")
    with pytest.raises(ConfigError, match="3: time: is before that of the line above"):
        read_tape(tape, POSITIONS)


def test_the_command_prints_it_as_json_and_draws_it(tmp_path: Path) -> None:
    picture = tmp_path / "replay.png"
    # A process of its own, as matplotlib stays in the one that has drawn.
    done = subprocess.run(
        [sys.executable, "-m", "position_manager.cli", *COMMAND, "--json", "--plot", str(picture)],
        env={**os.environ, "PYTHONPATH": str(Path(position_manager.__file__).parents[1])},
        capture_output=True,
        check=True,
        timeout=60,
    )
    reported = json.loads(done.stdout)
    assert [(unit["rule"], unit["profit"]) for unit in reported] == [("stop", "-540.00"), ("trailing", "95.00")]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_tape_that_is_not_there_is_a_faulty_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "/nowhere.csv", *COMMAND[2:]]) == 2
    assert "/nowhere.csv:1: the whole file: cannot be read" in capsys.readouterr().err


def test_a_journal_is_a_tape_of_what_its_rules_and_gates_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.quote(42, "2.45", "2.55")
        manager = Manager(at, tmp_path)
        await manager.start()
        for _ in range(2):
            at.quote(42, "3.75", "3.85")
            await at.clock.advance(1)
        at.fill(at.ours(42)[0], 2)
        await at.clock.advance(10)
        await manager.end()

    asyncio.run(story())
    rules = tmp_path / "rules.yml"
    rules.write_text("mode: paper\nquotes: {confirmations: 1}\ndefaults: {stop: {percent_of_premium: 40}}\n")
    assert main(["replay", str(tmp_path / "journal.db"), "--config", str(rules), "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["quantity"], outcome["entry"], outcome["exit"]) == ("-2", "2.50", "3.85")
    assert outcome["rule"] == "stop"
    assert outcome["profit"] == "-270.00"


def test_a_journal_in_which_nothing_fired_holds_no_tape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal_samples.Day(tmp_path / "journal.db").journal.close()
    assert main(["replay", str(tmp_path / "journal.db"), "--config", str(EXAMPLE / "rules.yml")]) != 0
    assert "no rule has fired" in capsys.readouterr().err


def test_a_tape_without_its_positions_reports_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND[:2], "--config", str(EXAMPLE / "rules.yml")]) != 0
    assert "--positions" in capsys.readouterr().err


def test_a_line_ends_where_its_quotes_are_too_old_and_no_earlier() -> None:
    seconds = (0, 10, 20, 50, 51, 90)
    samples = [Sample(BEGIN + timedelta(seconds=at), Decimal(at), None, None, None) for at in seconds]
    max_age = timedelta(seconds=10)
    assert [[int(each.price) for each in part] for part in stretches(samples, max_age)] == [[0, 10, 20], [50, 51], [90]]
    times, prices = line_of(samples, max_age, lambda each: each.price)
    assert [(time - BEGIN).total_seconds() for time in times] == [0, 10, 20, 30, 50, 51, 61, 90]
    assert [str(price) for price in prices] == ["0.0", "10.0", "20.0", "nan", "50.0", "51.0", "nan", "90.0"]


def account_tape(tmp_path: Path, action: str = "close") -> list[str]:
    """A stock and a put whose losses come to a tenth of the account, without a stop of their own."""
    (tmp_path / "positions.yml").write_text(
        "positions:\n"
        "  - {name: stock, symbol: SPY, quantity: 100, average_price: 450}\n"
        "  - {name: other, symbol: AAPL, quantity: 100, average_price: 200}\n"
    )
    lines = [HEADER]
    for second, price in ((0, 450), (20, 450), (40, 380), (60, 450), (80, 380), (100, 378), (120, 300)):
        time = (BEGIN + timedelta(seconds=second)).isoformat()
        lines += [f"{time},stock,{price},{price}.02,,,", f"{time},other,200,200.02,,,"]
    (tmp_path / "tape.csv").write_text("\n".join(lines))
    (tmp_path / "rules.yml").write_text(
        "mode: sim\ndefaults: {stop: {price: 1}}\nquotes: {max_age_seconds: 30}\n"
        f"account_stops: {{daily_loss: {{percent: 5, action: {action}}}, "
        "margin_cushion: {below_percent: 5, action: notify}}\n"
    )
    files = [str(tmp_path / name) for name in ("tape.csv", "positions.yml", "rules.yml")]
    return ["replay", files[0], "--positions", files[1], "--config", files[2]]


def test_a_stop_of_the_account_closes_all_that_is_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = account_tape(tmp_path)
    assert main([*command, "--net-liquidation", "100000", "--json"]) == 0
    stock, other, fired = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in (stock, other)] == ["account stop"] * 2
    assert stock["profit"] == "-7200", "the loss at 10:00:40 was one odd quote"
    assert fired["account_stop"] == "daily_loss"
    assert "92,800.00 USD, 7,200.00 USD (7.20 %) lost against 100,000.00 USD" in fired["text"]
    assert main(command) == 0
    assert "not replayed; name the account's value with --net-liquidation" in capsys.readouterr().out


def test_a_stop_of_the_account_that_closes_nothing_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*account_tape(tmp_path, "halt"), "--net-liquidation", "100000"]) == 0
    reported = capsys.readouterr().out
    assert "account daily_loss (halt) at 10:01:40" in reported
    assert "margin_cushion: not replayed" in reported
    assert reported.count("open") >= 2


def test_early_assignment_is_listed_once_a_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "positions.yml").write_text(
        "positions:\n  - {name: call, symbol: SPY, kind: OPT, expiry: 2026-12-18, strike: 450, right: C, quantity: -1, "
        "average_price: 5}\n"
    )
    lines = [HEADER]
    for second, bid, ask in ((0, "20.50", "20.70"), (5, "20.00", "20.04"), (10, "20.00", "20.04")):
        lines.append(f"{(BEGIN + timedelta(seconds=second)).isoformat()},call,{bid},{ask},,,470")
    (tmp_path / "tape.csv").write_text("\n".join(lines))
    (tmp_path / "rules.yml").write_text(
        "mode: sim\ndefaults: {stop: {price: 100}}\ncooldown: {minutes: 5}\n"
        "assignment_warnings: {dividends: {SPY: [{ex_date: 2026-11-25, amount: 1.5}]}}\n"
    )
    files = [str(tmp_path / name) for name in ("tape.csv", "positions.yml", "rules.yml")]
    command = ["replay", files[0], "--positions", files[1], "--config", files[2]]
    assert main(command) == 0
    reported = " ".join(capsys.readouterr().out.split())
    assert "call: ex-dividend at 10:00:00: 1.5 a share on 2026-11-25 (the settings), in 2 days" in reported
    assert reported.count("call: early assignment at 10:00:05") == 1
    assert "cooldown: not replayed" in reported
    assert main([*command, "--json"]) == 0
    assert [each.get("risk") for each in json.loads(capsys.readouterr().out)] == [
        None,
        "ex-dividend",
        "early assignment",
    ]
