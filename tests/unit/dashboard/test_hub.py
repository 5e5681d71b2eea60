"""The document that everybody follows."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request
from tests.unit.dashboard.hosts import TestHost

from dashboard.hub import FOLLOWED_SECONDS, Hub, pause_after
from dashboard.screens import Screens
from dashboard.server import MOST_LOGS, Page, answered


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


def test_only_a_few_logs_are_read_at_a_time(tmp_path: Path) -> None:
    host = TestHost(tmp_path)
    journalctl = tmp_path / "journalctl"
    journalctl.write_text("#!/bin/sh\nexec sleep 60\n")
    journalctl.chmod(0o755)

    async def run() -> list[bytes]:
        hub = Hub(host.collector(), monotonic=time.monotonic)
        page = Page(hub, Screens(tmp_path), str(journalctl))
        scope = {"type": "http", "query_string": b"source=ib-gateway.service", "headers": []}
        asked = [asyncio.ensure_future(answered(page.logs)(Request(scope))) for _ in range(MOST_LOGS + 2)]
        refused = [bytes((await each).body) for each in asked[MOST_LOGS:]]
        for task in asked[:MOST_LOGS]:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await hub.close()
        return refused

    assert [b"Several logs" in body for body in asyncio.run(run())] == [True, True]
