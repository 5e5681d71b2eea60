"""The second factor's dialog by the lines of IBC's log, and what rules out that a code is entered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch.code_entry import Dialog, Outcome
from gateway_watch.instance import parse
from gateway_watch.login import Change, LoginState
from gateway_watch.second_factor import Answered, SecondFactor
from gateway_watch.signatures import load

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
INSTANCE = parse(DOCUMENT | {"totp": True}, Path("/etc/ib-gateway/ib-gateway/instance.json"))


@pytest.mark.parametrize(
    ("events", "focused"),
    [
        (["Opened"], False),
        (["Opened", "Activated", "Focused"], True),
        # The order is a race in the gateway; both occur with the real controller.
        (["Activated", "Focused", "Opened"], True),
        (["Opened", "Focused", "Lost focus"], False),
        (["Opened", "Focused", "Closed", "Opened"], False),
        (["Opened", "Focused", "Closed", "Focused", "Opened"], True),
        # Without a word of its end, or with two gateways: the focus was that of the first one.
        (["Opened", "Focused", "Opened"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_focus_counts_whether_it_is_logged_before_or_after_the_opening(events: list[str], focused: bool) -> None:
    factor = SecondFactor(INSTANCE, load("ibc").dialogs, {}, lambda _: None, lambda: NOW)
    factor.on_change(Change(NOW, "paper", LoginState.AWAITING_2FA, "the second factor is requested"), 1)
    for event in events:
        factor.on_line(
            f"2026-11-29 19:58:16:396 IBC: detected dialog entitled: Second Factor Authentication; event={event}"
        )
    assert factor.dialog() == Dialog(open=True, focused=focused)


def test_typed_codes_that_cannot_be_read_leave_the_dialog_to_a_person(tmp_path: Path) -> None:
    (tmp_path / "second-factor.json").mkdir()
    instance = replace(INSTANCE, state_dir=tmp_path)
    factor = SecondFactor(instance, load("ibc").dialogs, {}, lambda _: None, lambda: NOW)

    async def run() -> list[Answered]:
        return [answered async for answered in factor.answers()]

    assert not factor.in_charge
    assert asyncio.run(run()) == [Answered(Outcome.NO_LEDGER)]
