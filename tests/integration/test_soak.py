"""Simulated weeks: the manager in paper mode against the gateway simulator over a real socket.

`bench.soak` has the scenario and the checks; SOAK_DAYS sets how many days the long test lasts (14 if it is not set).
"""

from __future__ import annotations

import os
from datetime import time, timedelta
from pathlib import Path

import pytest
from bench.soak.play import Pace, soak
from bench.soak.records import LOST, faults
from bench.soak.scenario import FIRST_DAY, Event, Kind, at, month

pytestmark = pytest.mark.asyncio

DAYS = int(os.environ.get("SOAK_DAYS", "14"))


async def test_an_outage_after_one_in_which_the_manager_was_killed_is_reported(tmp_path: Path) -> None:
    ten = at(FIRST_DAY, time(10))
    minutes = [timedelta(minutes=number) for number in (0, 2, 4, 20, 22)]
    kinds = (Kind.LINK_LOST, Kind.KILL, Kind.LINK_BACK, Kind.LINK_LOST, Kind.LINK_BACK)
    events = [Event(ten + later, kind) for later, kind in zip(minutes, kinds, strict=True)]
    records = await soak(tmp_path, events, 1, Pace())
    assert faults(records) == []
    assert sum(LOST in message.title for message in records.messages) == 2


async def test_a_farm_that_is_down_again_after_a_start_of_the_manager_is_reported(tmp_path: Path) -> None:
    ten = at(FIRST_DAY, time(10))
    minutes = [timedelta(minutes=number) for number in (0, 2, 20, 22)]
    kinds = (Kind.FARM_DOWN, Kind.REBOOT, Kind.FARM_DOWN, Kind.FARM_UP)
    events = [Event(ten + later, kind, minutes=1) for later, kind in zip(minutes, kinds, strict=True)]
    records = await soak(tmp_path, events, 1, Pace())
    assert faults(records) == []
    down = [message.title for message in records.messages if "usfarm is down" in message.title]
    assert len(down) == 2


async def test_weeks_of_faults(tmp_path: Path) -> None:
    records = await soak(tmp_path, month(seed=2, days=DAYS, closes_a_day=1), 2, Pace())
    assert faults(records) == []
    assert sum(episode.closed is not None for episode in records.episodes) >= DAYS // 3
