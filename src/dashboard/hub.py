"""The present document, and everybody who follows it.

While nobody does, only the history is recorded. Each follower gets the difference between what it has and the present
document, so a slow one gets fewer changes, and none queue up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from dashboard.collector import Collector
from dashboard.document import Document, merge_patch

FOLLOWED_SECONDS = 1.0
ALONE_SECONDS = 2.0
BUSY_SHARE = 10
"""A collection that takes long is followed by a pause of so many times its duration."""
LONGEST_PAUSE = 5.0
"""One manager that does not answer must not make the others' prices old."""
PING_SECONDS = 10.0
MOST_FOLLOWERS = 16

_VOLATILE = ("at", "revision")
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class FullError(Exception):
    """Too many follow already."""


class Hub:
    """One for the process; `run` it as a task."""

    def __init__(
        self,
        collector: Collector,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._collector = collector
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="collector")
        self._document: Document = {}
        self._collected_at: float | None = None
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._ended = False
        self._followers = 0

    async def call(self, function: Callable[[Collector], _T]) -> _T:
        """Call something of the collector in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, self._collector)

    async def snapshot(self) -> Document:
        """The document; collected now unless somebody follows it."""
        old = self._collected_at is None or self._monotonic() - self._collected_at >= FOLLOWED_SECONDS
        if old:
            await self._collect()
        return self._document

    async def present(self) -> Document:
        """Like `snapshot`, with the present time: a document that did not change has that of its last change."""
        return _present(await self.snapshot())

    async def run(self) -> None:
        """Collect, until cancelled."""
        while True:
            started = self._monotonic()
            try:
                if self._followers:
                    await self._collect()
                else:
                    await self.call(Collector.record)
            except Exception:
                # The page shows what was collected before; the next collection may succeed.
                _log.exception("the status could not be collected")
            took = self._monotonic() - started
            self._joined.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_after(took, followed=self._followers > 0)):
                    await self._joined.wait()

    async def close(self) -> None:
        self.end()
        await self.call(Collector.close)
        self._thread.shutdown()

    def end(self) -> None:
        """End every stream: the server waits for them before it stops."""
        self._ended = True
        self._wake()

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events: the document, then each change of it. Raises FullError at once."""
        if self._followers >= MOST_FOLLOWERS:
            raise FullError
        self._followers += 1
        try:
            sent = await self.snapshot()
            self._joined.set()
            yield event("snapshot", _present(sent), sent["revision"])
            while not self._ended:
                changed = self._changed
                if self._document is sent:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(PING_SECONDS):
                            await changed.wait()
                now = self._document
                if now is sent:
                    if not self._ended:
                        yield event("ping", {"at": datetime.now(UTC).isoformat()})
                    continue
                yield event("change", merge_patch(sent, now), now["revision"])
                sent = now
        finally:
            self._followers -= 1

    async def _collect(self) -> None:
        document = await self.call(Collector.collect)
        self._collected_at = self._monotonic()
        before = self._document
        if before and _settled(before) == _settled(document):
            return
        self._document = {**document, "revision": before.get("revision", 0) + 1}
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def pause_after(took: float, *, followed: bool) -> float:
    """Seconds until the next collection, after one that took so many."""
    return max(FOLLOWED_SECONDS if followed else ALONE_SECONDS, min(took * BUSY_SHARE, LONGEST_PAUSE))


def _present(document: Document) -> Document:
    """As it is sent now: a page corrects its clock by this time."""
    return {**document, "at": datetime.now(UTC).isoformat()}


def _settled(document: Document) -> Document:
    """Without what differs each time: times of collection."""
    settled = {key: value for key, value in document.items() if key not in _VOLATILE}
    settled["managers"] = {
        name: {key: value for key, value in manager.items() if key != "age"}
        for name, manager in document.get("managers", {}).items()
    }
    return settled


def event(kind: str, data: Document, number: int | None = None) -> bytes:
    """A server-sent event."""
    identity = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{identity}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
