"""The module ec2_host_keys as a process, before a server that answers as EC2 does."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.module_process import answer_of

ROOT = Path(__file__).parents[3]
ID = "i-0123456789abcdef0"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBcq9ZPWp3ZSF6l1lO4eFhrC2Y1BzUo6Q4Ip4wM0CjQe"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdb8e2hX0lZ0S1Yxk8mN5v5Lq0o3rV8TQ2yUeJp1wKx"
FINGERPRINTS = """\
<14>Nov 23 17:00:01 cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----
<14>Nov 23 17:00:01 cloud-init: 256 SHA256:Vt0VYxQ2kJxJ0bG0H7T0mJb2y1o5l2S8yE3f6i9u4cA root@ip-10-0-0-7 (ED25519)
<14>Nov 23 17:00:01 cloud-init: -----END SSH HOST KEY FINGERPRINTS-----
"""


def block(*keys: str) -> str:
    lines = "".join(f"[   12.345678] cloud-init[712]: {key} root@ip-10-0-0-7\n" for key in keys)
    return f"{FINGERPRINTS}-----BEGIN SSH HOST KEY KEYS-----\n{lines}-----END SSH HOST KEY KEYS-----\n"


class Ec2:
    """Handles GetConsoleOutput with one text after another, the last one for ever; None: the type knows no Latest."""

    def __init__(self) -> None:
        self.consoles: list[str | None] = [""]
        self.asked: list[dict[str, str]] = []

    def answer(self, query: dict[str, str]) -> tuple[int, str]:
        self.asked.append(query)
        console = self.consoles.pop(0) if len(self.consoles) > 1 else self.consoles[0]
        if console is None:
            return 400, (
                "<Response><Errors><Error><Code>UnsupportedOperation</Code><Message>not on this type</Message></Error>"
                "</Errors><RequestID>1</RequestID></Response>"
            )
        output = base64.b64encode(console.encode()).decode()
        return 200, (
            '<GetConsoleOutputResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>'
            f"<instanceId>{query['InstanceId']}</instanceId><timestamp>2026-11-23T17:00:00.000Z</timestamp>"
            f"<output>{output}</output></GetConsoleOutputResponse>"
        )


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2]:
    account = Ec2()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = account.answer({name: values[0] for name, values in parse_qs(body).items()})
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield account
        server.shutdown()


def call(file: Path, **arguments: Any) -> dict[str, Any]:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    given = {"instance_ids": [ID], "known_hosts": str(file), "region": "us-east-1", "timeout": 0} | arguments
    return answer_of("ec2_host_keys", given, os.environ | keys)


def test_keys_are_pinned_under_the_instance_and_then_aws_is_not_asked_again(ec2: Ec2, tmp_path: Path) -> None:
    # The console is read while the block is being printed.
    ec2.consoles = [block(ED25519)[:-60], block(ED25519)]
    file = tmp_path / "ssh" / "known_hosts"
    pinned = call(file, timeout=30)
    assert (pinned["changed"], pinned["added"]) == (True, [f"{ID} {ED25519}"])
    assert file.read_text() == f"{ID} {ED25519}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (ec2.asked[0]["InstanceId"], ec2.asked[0]["Latest"]) == (ID, "true")
    asked = len(ec2.asked)
    assert asked == 2
    # Another key on the console is not even read: an intruder on the host could print it.
    ec2.consoles = [block(OTHER)]
    again = call(file, timeout=30)
    assert (again["changed"], again["added"], len(ec2.asked)) == (False, [], asked)
    # How ssh reads the file.
    found = subprocess.run(["ssh-keygen", "-F", ID, "-f", file], capture_output=True, text=True, check=True)
    assert ED25519 in found.stdout


def test_what_was_in_the_file_stays(ec2: Ec2, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"i-older {OTHER}")
    ec2.consoles = [block(ED25519)]
    assert call(file)["changed"]
    assert file.read_text() == f"i-older {OTHER}\n{ID} {ED25519}\n"


def test_in_check_mode_nothing_is_written(ec2: Ec2, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    ec2.consoles = [block(ED25519)]
    answer = call(file, _ansible_check_mode=True, _ansible_diff=True)
    assert answer["changed"]
    assert answer["diff"]["after"] == f"{ID} {ED25519}\n"
    assert not file.exists()


def test_an_instance_that_cannot_show_its_latest_output_shows_that_of_its_boot(ec2: Ec2, tmp_path: Path) -> None:
    ec2.consoles = [None, block(ED25519)]
    assert call(tmp_path / "known_hosts")["added"] == [f"{ID} {ED25519}"]
    assert "Latest" not in ec2.asked[1]


def test_only_whole_keys_of_the_last_block_are_taken(ec2: Ec2, tmp_path: Path) -> None:
    cut = "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIBcq"
    ec2.consoles = [block(OTHER) + block(cut, ED25519)]
    assert call(tmp_path / "known_hosts")["added"] == [f"{ID} {ED25519}"]


def test_a_console_without_keys_is_an_error_that_states_what_to_do(ec2: Ec2, tmp_path: Path) -> None:
    ec2.consoles = [FINGERPRINTS]
    answer = call(tmp_path / "known_hosts")
    assert answer["failed"]
    assert f"The console of {ID} shows no ssh host keys" in answer["msg"]
    assert f"'{ID} ssh-ed25519 AAAA…'" in answer["msg"]
    assert not (tmp_path / "known_hosts").exists()
