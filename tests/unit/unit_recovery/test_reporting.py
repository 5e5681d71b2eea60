"""To whom a unit that cannot start is reported, and with which program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.notifications.webhook import Webhook

from unit_recovery import __main__ as command
from unit_recovery.recovery import failed
from unit_recovery.targets import address_files, programs

GATEWAY = "LoadCredential=notify_urls:/etc/ib-gateway/ib-gateway/secrets/notify_urls\n"
MANAGER = "LoadCredential=discord_url:/etc/position-manager/secrets/position-manager/discord_url\n"
AT = datetime(2026, 11, 29, tzinfo=UTC)


def write(root: Path, path: str, text: str = "json://127.0.0.1/\n") -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(tmp_path, "/etc/ib-gateway/ib-gateway/secrets/notify_urls"),
        write(tmp_path, "/etc/position-manager/secrets/position-manager/discord_url"),
    )


def test_a_unit_with_addresses_of_its_own_is_reported_there(files: tuple[Path, Path], tmp_path: Path) -> None:
    gateway, manager = files
    assert address_files(GATEWAY, tmp_path) == [gateway]
    assert address_files(MANAGER, tmp_path) == [manager]


def test_a_missing_or_empty_file_of_addresses_holds_nothing_back(files: tuple[Path, Path], tmp_path: Path) -> None:
    gateway, manager = files
    gateway.unlink()
    assert address_files(GATEWAY, tmp_path) == [manager]
    write(tmp_path, "/etc/ib-gateway/ib-gateway/secrets/notify_urls", "")
    assert address_files(GATEWAY, tmp_path) == [manager]


def test_a_unit_without_addresses_is_reported_to_all_of_the_host(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert address_files("ExecStart=/usr/sbin/nft", tmp_path) == list(files)


def test_another_release_sends_where_the_present_one_is_damaged(tmp_path: Path) -> None:
    for release in ("releases/a", "releases/b"):
        write(tmp_path, f"{release}/bin/python")
    (tmp_path / "current").symlink_to("releases/gone")
    (tmp_path / "previous").symlink_to("releases/a")
    assert [path.relative_to(tmp_path) for path in programs(tmp_path)] == [
        Path("previous/bin/python"),
        Path("releases/b/bin/python"),
        Path("releases/a/bin/python"),
    ]


def release(directory: Path, *, damaged: bool = False) -> None:
    """A release whose Python is the one of this test, or one that has lost its packages."""
    program = directory / "bin/python"
    program.parent.mkdir(parents=True)
    paths = os.pathsep.join(path for path in sys.path if path)
    works = f'PYTHONPATH={paths} exec {sys.executable} "$@"'
    program.write_text(f"#!/bin/sh\n{'exit 1' if damaged else works}\n")
    program.chmod(0o755)


def test_a_failure_arrives_once_and_its_end_once(tmp_path: Path) -> None:
    """Over the real sender and a real server, with a damaged release in the way."""
    release(tmp_path / "current", damaged=True)
    release(tmp_path / "previous")
    outbox = tmp_path / "notifications.sqlite3"
    with Webhook() as server:
        addresses = write(tmp_path, "notify_urls", f"json://127.0.0.1:{server.port}/\n")
        message = failed("ib-gateway.service", None, AT, 15)
        for _ in range(2):
            assert command._send(message, outbox, [addresses], tmp_path)
        end = {**message, "title": "it runs again", "dedupe_key": "", "recovery_of": "unit/ib-gateway.service"}
        assert command._send(end, outbox, [addresses], tmp_path)
        titles = [post.json["title"] for post in server.taken]
    assert titles[0].startswith("ib-gateway.service cannot start")
    assert titles[1:] == ["it runs again"]


def test_the_sender_reports_what_waits_and_what_cannot_be_sent(tmp_path: Path) -> None:
    outbox, message = tmp_path / "outbox", json.dumps(failed("x.service", None, AT, 15))

    def send(addresses: Path) -> int:
        return subprocess.run(
            [sys.executable, "-m", "notifications.send", "--outbox", str(outbox), "--seconds", "1", str(addresses)],
            input=message,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        ).returncode

    # Nothing listens on port 9.
    assert send(write(tmp_path, "down", "json://127.0.0.1:9/\n")) == 3
    assert send(write(tmp_path, "wrong", "no-such-service://x\n")) == 1
    assert send(tmp_path / "missing") == 1
