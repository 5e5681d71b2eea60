"""The log of a service, and the screen of a gateway, from the programs that have them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from dashboard import logs
from dashboard.logs import LogError
from dashboard.screens import PNG, ScreenError, Screens

T = TypeVar("T")


def entry(message: object, **more: str) -> bytes:
    return json.dumps({"__REALTIME_TIMESTAMP": "1764514800123456", "MESSAGE": message, **more}).encode()


def test_lines_of_journald_are_parsed_whatever_is_in_them() -> None:
    output = b"\n".join(
        [
            entry("plain", PRIORITY="4"),
            entry([104, 105, 255]),
            entry('{"event": "stopping", "level": "warning", "logger": "x", "by": "anna"}'),
            entry('{"no event": 1}'),
            entry(None),
            b"no json",
            b'{"MESSAGE": "without a time"}',
        ]
    )
    found = list(logs.parsed(output))
    assert [line["text"] for line in found] == ["plain", "hi�", "warning: stopping by=anna", '{"no event": 1}', ""]
    assert [line["priority"] for line in found] == [4, 6, 6, 6, 6]
    assert found[0]["at"] == "2025-11-30T15:00:00.123+00:00"


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_log_is_asked_for_one_unit(tmp_path: Path) -> None:
    journalctl = program(
        tmp_path / "journalctl", 'echo "{\\"__REALTIME_TIMESTAMP\\": \\"1\\", \\"MESSAGE\\": \\"$*\\"}"'
    )
    (line,) = asyncio.run(logs.read("ib-gateway.service", 20, journalctl))
    assert line["text"].startswith("--unit ib-gateway.service --lines 20 --output json")


def test_a_log_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    journalctl = program(tmp_path / "journalctl", "echo 'no permission' >&2; exit 1")
    with pytest.raises(LogError, match=r"The log of a\.service cannot be read: no permission"):
        asyncio.run(logs.read("a.service", 1, journalctl))
    with pytest.raises(LogError, match="no program journalctl"):
        asyncio.run(logs.read("a.service", 1, str(tmp_path / "none")))


def with_screen(directory: Path, answer: bytes, use: Callable[[Screens], Awaitable[T]]) -> tuple[T, int]:
    """What comes of a screen whose program answers so, and how often it was asked."""
    asked = 0

    async def run() -> T:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(serve, str(directory / "ib-gateway.sock")):
            return await use(Screens(directory))

    return asyncio.run(run()), asked


def test_a_picture_is_taken_once_for_several_requests(tmp_path: Path) -> None:
    answer = b'{"taken_at": "2026-11-30T15:00:00+00:00", "fresh": true}\n' + PNG + b"pixels"

    async def twice(screens: Screens) -> list[bytes]:
        found = await asyncio.gather(screens.take("ib-gateway"), screens.take("ib-gateway"))
        return [picture.png for picture in found]

    pictures, asked = with_screen(tmp_path, answer, twice)
    assert pictures == [PNG + b"pixels"] * 2
    assert asked == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b'{"error": "Nothing listens on 127.0.0.1:5900"}\n', "Nothing listens"),
        (b'{"taken_at": "x", "fresh": true}\n<html>', "not a picture"),
        (b"garbage", "not answered as expected"),
        (b"", "not answered as expected"),
        (b"[]\n", "not answered as expected"),
    ],
)
def test_no_picture_is_reported_with_its_reason(tmp_path: Path, answer: bytes, text: str) -> None:
    async def refused(screens: Screens) -> str:
        with pytest.raises(ScreenError) as caught:
            await screens.take("ib-gateway")
        return str(caught.value)

    assert text in with_screen(tmp_path, answer, refused)[0]


def test_a_gateway_without_a_screen_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ScreenError, match="not available here"):
        asyncio.run(Screens(tmp_path).take("ib-gateway"))
    assert not Screens(tmp_path).has("ib-gateway")


def test_who_waits_for_another_request_waits_no_longer_than_that(tmp_path: Path) -> None:
    asked = 0

    async def run() -> list[object]:
        ended = asyncio.Event()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await ended.wait()
            writer.close()

        screens = Screens(tmp_path, seconds=0.05)
        async with await asyncio.start_unix_server(serve, str(tmp_path / "ib-gateway.sock")):
            async with asyncio.timeout(5):
                requests = (screens.take("ib-gateway") for _ in range(4))
                found = await asyncio.gather(*requests, return_exceptions=True)
            ended.set()
            return list(found)

    found = asyncio.run(run())
    assert all("did not come within 0.05 s" in str(each) for each in found)
    assert asked < 4, "one after the other"
