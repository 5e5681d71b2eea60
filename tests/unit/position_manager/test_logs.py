"""The log as it is read: JSON for programs, text for people, no account number in either."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from position_manager.service import logs

LINES = (
    "PositionManager starting (poll every 30s)",
    "Connecting to IB Gateway (may take 30-60s on fresh starts)...",
    "Connecting to IB at 127.0.0.1:4002 (client_id=100, attempt 1/5)",
    "Successfully connected to IB at 127.0.0.1:4002 (client_id=100)",
    "Successfully connected to IB Gateway — position manager running",
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The process's log as the test runner has set it up."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.QUIET}
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_is_an_object_with_its_fields() -> None:
    stream = io.StringIO()
    logs.configure(stream, {})
    log = logging.getLogger("position_manager.engine.engine")
    for line in LINES:
        log.info(line)
    log.warning("order %s works", "pm:01", extra={"intent": "01", "con_id": 42, "limit": Decimal("2.50")})
    *plain, last = written(stream)
    assert tuple(entry["event"] for entry in plain) == LINES
    assert all(line in stream.getvalue() for line in LINES), "as they are, so that a search in the journal finds them"
    assert last.pop("time").startswith("20")
    assert last == {
        "event": "order pm:01 works", "level": "warning", "logger": "position_manager.engine.engine",
        "intent": "01", "con_id": 42, "limit": "2.50",
    }  # fmt: skip


def test_account_numbers_are_masked_wherever_they_are() -> None:
    stream = io.StringIO()
    logs.configure(stream, {})
    log = logging.getLogger("ib_insync.wrapper")
    log.error("no DU1234567 here", extra={"account": "U7654321", "legs": [{"DU1234567": ("DF1111111", 1)}]})
    try:
        raise ValueError("DU1234567 is unknown")
    except ValueError:
        log.exception("it failed")
    text = stream.getvalue()
    for number in ("DU1234567", "U7654321", "DF1111111"):
        assert number not in text
    assert "DU*****67" in text and "U7****21" in text
    assert "ValueError: DU*****67 is unknown" in written(stream)[1]["exception"]


def test_libraries_log_their_warnings_only() -> None:
    stream = io.StringIO()
    logs.configure(stream, {}, logging.DEBUG)
    for name in ("ib_insync.client", "urllib3.connectionpool", "position_manager.engine.engine"):
        logging.getLogger(name).info("said by %s", name)
        logging.getLogger(name).warning("warned by %s", name)
    assert [entry["event"] for entry in written(stream)] == [
        "warned by ib_insync.client",
        "warned by urllib3.connectionpool",
        "said by position_manager.engine.engine",
        "warned by position_manager.engine.engine",
    ]


def test_the_journal_gets_priorities(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        logs.configure(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("x").log(level, "said")
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>"]
    assert all(json.loads(line[3:])["event"] == "said" for line in lines)


def test_another_stream_than_the_journal_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as stream:
        logs.configure(stream, {"JOURNAL_STREAM": "8:12345"})
        logging.getLogger("x").info("said")
    assert path.read_text().startswith("{")


def test_a_terminal_gets_text() -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stream:  # noqa: PTH123 - a descriptor has no path
        logs.configure(stream, {})
        logging.getLogger("x").info(LINES[-1], extra={"con_id": 42})
        stream.flush()
        text = os.read(ours, 4096).decode()
    os.close(ours)
    assert LINES[-1] in text and "con_id" in text and "42" in text
    assert not text.startswith("{")
