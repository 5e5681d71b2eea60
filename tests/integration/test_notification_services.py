"""Services of Apprise at the other end of a real connection: a mail server, an API like Telegram's, a webhook.

Each test holds one thing that Apprise 2.2 does otherwise than one would guess (see `notifications.delivery`).
"""

from __future__ import annotations

import email
import email.policy
import html
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from random import Random

import pytest
from apprise.plugins.telegram import NotifyTelegram
from tests.unit.notifications.webhook import SECRET, Answer, Webhook

from notifications.delivery import AddressError, pieces, targets_of, usable_targets
from notifications.discord import DiscordTarget
from notifications.message import Message, Severity
from notifications.outbox import Outbox
from notifications.target import Result
from notifications.worker import Worker

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LINES = ("first <b>line</b> & more", "  second: 5 < 6, <account>", "_third_ *line* #4")
TELEGRAM_LIMIT = 4096
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(targets_of.__code__.co_filename).parents[1])}


def message(*lines: str) -> Message:
    return Message("kind", Severity.ALERT, "The <title> & more", NOW, lines)


class Mail(socketserver.ThreadingTCPServer):
    """A mail server (RFC 5321) on 127.0.0.1. ``refused`` counts down how often it refuses a recipient."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, refused: dict[str, int] | None = None) -> None:
        self.refused = dict(refused or {})
        self.taken: list[tuple[list[str], EmailMessage]] = []
        self.changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Session)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def wait(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, 15), self.taken


class _Session(socketserver.StreamRequestHandler):
    server: Mail

    def send_line(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self) -> None:
        recipients: list[str] = []
        self.send_line("220 mail.test ESMTP")
        for raw in self.rfile:
            line = raw.decode().strip()
            word = line[:4].upper()
            if word == "RCPT":
                found = re.search("<(.+?)>", line)
                assert found is not None
                with self.server.changed:
                    left = self.server.refused.get(found[1], 0)
                    self.server.refused[found[1]] = left - 1
                if left > 0:
                    self.send_line("451 try again later")
                else:
                    recipients.append(found[1])
                    self.send_line("250 OK")
            elif word == "DATA":
                self.send_line("354 go on")
                body = b""
                for part in self.rfile:
                    if part == b".\r\n":
                        break
                    body += part.removeprefix(b".") if part.startswith(b"..") else part
                parsed = email.message_from_bytes(body, policy=email.policy.default)
                assert isinstance(parsed, EmailMessage)
                with self.server.changed:
                    self.server.taken.append((recipients, parsed))
                    self.server.changed.notify_all()
                recipients = []
                self.send_line("250 OK")
            elif word == "QUIT":
                self.send_line("221 bye")
                return
            else:
                self.send_line("250 OK")


@pytest.fixture
def mail() -> Iterator[Mail]:
    yield from serving(Mail())


def serving(server: Mail) -> Iterator[Mail]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture
def telegram(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    with Webhook() as server:
        monkeypatch.setattr(NotifyTelegram, "notify_url", f"http://127.0.0.1:{server.port}/bot")
        yield server


def test_mail_is_plain_text_with_every_line(mail: Mail) -> None:
    (target,) = targets_of([f"mailto://127.0.0.1:{mail.port}?from=watch@a.test&to=me@b.test"])
    assert target.send(message(*LINES), 0).result is Result.SENT
    ((recipients, taken),) = mail.taken
    assert recipients == ["me@b.test"]
    assert taken["Subject"] == "The <title> & more"
    assert taken.get_content_type() == "text/plain"
    content = taken.get_content().replace("\r\n", "\n").rstrip("\n")
    assert content == "\n".join((*LINES, "2026-11-23 12:00:00 UTC"))


def test_telegram_shows_every_sign_and_every_line(telegram: Webhook) -> None:
    (target,) = targets_of(["tgram://123456789:abcdefghij/42"])
    assert target.send(message(*LINES), 0).result is Result.SENT
    (post,) = telegram.taken
    assert post.json["parse_mode"] == "HTML"
    # Blanks at an end of a line are the only thing that may be lost.
    lines = [line.strip() for line in LINES]
    assert shown(post.json["text"]) == "\n".join(("The <title> & more", *lines, "2026-11-23 12:00:00 UTC"))


def shown(text: str) -> str:
    """What Telegram shows of an HTML text: its few tags are formats, all other text is as it is."""
    assert set(re.findall(r"</?(\w+)", text)) <= {"b", "i"}
    lines = html.unescape(re.sub(r"</?[bi]>", "", text)).replace("\xa0", " ").replace("\u2003", "   ")
    return "\n".join(line.strip() for line in lines.replace("\r\n", "\n").strip().split("\n"))


def test_a_long_message_comes_in_pieces_within_the_limit_in_order(telegram: Webhook) -> None:
    lines = [f"line {number}: {'<&>' * (number % 40)}|" for number in range(120)]
    lines[60] = "x" * 5000
    (target,) = targets_of(["tgram://123456789:abcdefghij/42"])
    long = message(*lines)
    parts = target.parts(long)
    assert parts > 2
    for part in range(parts):
        assert target.send(long, part).result is Result.SENT
    texts = [post.json["text"] for post in telegram.taken]
    assert len(texts) == parts
    assert max(map(len, texts)) <= TELEGRAM_LIMIT
    titles, bodies = zip(*(shown(text).split("\n", 1) for text in texts), strict=True)
    assert titles == tuple(f"The <title> & more ({number}/{parts})" for number in range(1, parts + 1))
    together = "\n".join(bodies).split("\n")
    assert "".join(together) == "".join((*lines, "2026-11-23 12:00:00 UTC"))


def test_pieces_hold_the_limits_and_lose_nothing() -> None:
    text = "one\ntwo\n\nthree and more\nfour"
    found = pieces(text, 8, len)
    assert all(len(piece) <= 8 for piece in found)
    assert "".join(found).replace("\n", "") == text.replace("\n", "")
    assert pieces(text, 100, len, lines=2) == ["one\ntwo", "\nthree and more", "four"]
    assert pieces("", 8, len) == [""]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_no_delivery(status: int) -> None:
    with Webhook() as elsewhere:
        to = {"Location": f"http://127.0.0.1:{elsewhere.port}/"}
        with Webhook([Answer(status, to)] * 2) as server:
            json, discord = targets_of(
                [f"json://127.0.0.1:{server.port}/?redirect=yes", f"discord://42/{SECRET}"], discord_api=server.api
            )
            for target in (json, discord):
                outcome = target.send(message("text"), 0)
                assert outcome.result is Result.GONE
                assert "redirect" in outcome.detail
        assert elsewhere.tries == []


def test_a_retry_goes_only_to_the_recipient_that_has_nothing_yet(tmp_path: Path) -> None:
    for mail in serving(Mail(refused={"two@b.test": 2})):
        address = f"mailto://127.0.0.1:{mail.port}?from=watch@a.test&to=one@b.test,two@b.test&cc=copy@b.test"
        targets = targets_of([address])
        assert len({target.name for target in targets}) == 2
        outbox = Outbox(tmp_path / "outbox", time.time)
        workers = [
            Worker(outbox.path, target, random=Random(1), first_pause=0.05)  # noqa: S311 - no secret
            for target in targets
        ]
        outbox.put(message("text"), [target.name for target in targets])
        for worker in workers:
            worker.start()
        mail.wait(2)
        for worker in workers:
            worker.request_stop(5)
            assert worker.join(6)
        assert outbox.states() == {"sent": 2}
        outbox.close()
        assert sorted(recipient for recipients, _ in mail.taken for recipient in recipients) == [
            "copy@b.test",
            "one@b.test",
            "two@b.test",
        ]


def test_recipients_of_several_kinds_are_each_a_target() -> None:
    targets = targets_of(["tgram://123456789:abcdefghij/42/43/44"])
    assert len(targets) == 3


def test_a_wrong_address_silences_no_other() -> None:
    with Webhook() as server:
        good = f"json://127.0.0.1:{server.port}/"
        targets, faults = usable_targets([f"nonsense://{SECRET}", good, f"tgram://{SECRET}", f"discord://{SECRET}"])
        assert [target.send(message("text"), 0).result for target in targets] == [Result.SENT]
    assert [fault.split(" for ")[0] for fault in faults] == ["address 1", "address 3", "address 4"]
    assert SECRET not in " ".join(faults)
    with pytest.raises(AddressError, match="address 1"):
        targets_of([f"nonsense://{SECRET}", good])


def test_a_test_message_is_reported_for_each_target(tmp_path: Path) -> None:
    with Webhook() as good, Webhook([Answer(404)]) as gone:
        file = tmp_path / "urls"
        addresses = [
            f"json://u:{SECRET}@127.0.0.1:{good.port}/",
            f"json://127.0.0.1:{gone.port}/{SECRET}",
            "nonsense://x",
        ]
        file.write_text("\n".join(addresses))
        file.chmod(0o600)
        command = [sys.executable, "-m", "notifications.send_test", str(file), "--sender", "the gateway"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert [line.partition("json-")[0] for line in lines[:2]] == [
            "the gateway, address 1, ",
            "the gateway, address 2, ",
        ]
        assert lines[0].endswith(": sent")
        assert lines[1].endswith(": NOT sent (HTTP 404)")
        assert lines[2].startswith("the gateway, address 3: NOT sent, is invalid")
        assert SECRET not in done.stdout + done.stderr
        assert good.taken[0].json["title"] == "Test message of the gateway"
        file.write_text(addresses[0])
        assert subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=False).returncode == 0
        assert len(good.taken) == 2


def test_a_test_message_without_an_address_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.touch(0o600)
    command = [sys.executable, "-m", "notifications.send_test", str(file), "--sender", "the gateway"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "the gateway, no address is configured, so no notification is sent\n")


@pytest.mark.parametrize("host", ["discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com"])
@pytest.mark.parametrize("version", ["", "/v10", "/v9"])
def test_every_form_of_a_webhook_s_address_is_known(host: str, version: str) -> None:
    with Webhook() as server:
        address = f"https://{host}/api{version}/webhooks/42/{SECRET}?thread_id=77&wait=true"
        (target,) = targets_of([address], discord_api=server.api)
        assert isinstance(target, DiscordTarget)
        assert target.send(message("text"), 0).result is Result.SENT
        assert server.taken[0].path == f"/api/webhooks/42/{SECRET}?wait=true&thread_id=77"


def test_discord_s_own_scheme_takes_both_names_of_a_thread() -> None:
    for name in ("thread", "thread_id"):
        with Webhook() as server:
            (target,) = targets_of([f"discord://42/{SECRET}?{name}=77"], discord_api=server.api)
            assert target.send(message("text"), 0).result is Result.SENT
            assert "thread_id=77" in server.taken[0].path
