"""The document that everybody follows."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit.dashboard.hosts import TestHost

from dashboard.hub import FOLLOWED_SECONDS, Hub, pause_after


def test_a_manager_that_does_not_answer_delays_the_others_by_seconds() -> None:
    assert pause_after(0.01, followed=True) == FOLLOWED_SECONDS
    assert pause_after(0.2, followed=True) == 2.0, "a slow host has a rest"
    assert pause_after(3.0, followed=True) == 5.0, "one that waited for an answer has none of a minute"
    assert pause_after(0.01, followed=False) > FOLLOWED_SECONDS


def test_a_page_that_joins_later_gets_the_present_time_of_a_document_that_did_not_change(tmp_path: Path) -> None:
    host = TestHost(tmp_path)

    async def run() -> tuple[Any, Any]:
        hub = Hub(host.collector(), monotonic=time.monotonic)
        first = await hub.snapshot()
        stream = hub.events()
        sent = (await anext(stream)).decode()
        present = await hub.present()
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert await hub.snapshot() is first, "nothing has changed"
        await hub.close()
        return json.loads(sent.partition("data: ")[2]), present

    for document in asyncio.run(run()):
        # The clock of the collector is another one.
        assert datetime.now(UTC) - datetime.fromisoformat(document["at"]) < timedelta(minutes=1)
        assert document["revision"] == 1
