"""Messages delivered over real HTTP, to a server that fails in every way a webhook does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from tests.unit.notifications.webhook import SECRET, Answer, Webhook

from notifications.delivery import AddressError, read_addresses, targets_of
from notifications.message import Message, Severity
from notifications.outbox import Outbox
from notifications.service import Notifications
from notifications.target import Target
from notifications.worker import Worker, pause

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DISCORD = f"discord://4242/{SECRET}"


def message(title: str, lines: tuple[str, ...] = (), attachment: Path | None = None) -> Message:
    return Message("kind", Severity.ALERT, title, NOW, lines, attachment=attachment)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Collect the whole log at the most verbose level; no test may find the secret in it."""
    with caplog.at_level(logging.DEBUG):
        yield caplog
    assert not [record for record in caplog.get_records("call") if SECRET in record.getMessage()]


class Running:
    """One worker on one target, quick to try again."""

    def __init__(self, path: Path, target: Target) -> None:
        self.outbox = Outbox(path, time.time)
        self.target = target
        self.worker = Worker(path, target, random=Random(1), first_pause=0.05)  # noqa: S311 - no secret
        self.worker.start()

    def put(self, *messages: Message) -> None:
        for one in messages:
            self.outbox.put(one, [self.target.name])
        self.worker.wake()

    def end(self, seconds: float = 10.0) -> bool:
        self.worker.request_stop(seconds)
        ended = self.worker.join(seconds + 1)
        self.outbox.close()
        return ended


def discord(server: Webhook) -> Target:
    (target,) = targets_of([DISCORD], discord_api=server.api)
    return target


def titles(server: Webhook) -> list[str]:
    return [post.json["embeds"][0]["title"] for post in server.taken]


def test_posts_to_the_webhook_and_waits_for_it_to_be_stored(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook() as server:
        running = Running(path, discord(server))
        running.put(message("one"), message("two"))
        server.wait(lambda: len(server.taken) == 2)
        assert running.end()
    assert titles(server) == ["one", "two"]
    assert server.taken[0].path == f"/api/webhooks/4242/{SECRET}?wait=true"
    assert server.taken[0].json["allowed_mentions"] == {"parse": []}
    assert running.worker.counts.sent == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.4"},
        {"Retry-After": "0.1", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "0.4"},
    ],
)
def test_waits_as_long_as_a_limit_asks(path: Path, headers: dict[str, str], log: pytest.LogCaptureFixture) -> None:
    with Webhook([Answer(429, headers)]) as server:
        running = Running(path, discord(server))
        running.put(message("one"))
        server.wait(lambda: len(server.taken) == 1)
        assert running.end()
    first, second = server.tries
    assert 0.39 <= second.at - first.at < 2


def test_waits_before_a_limit_is_reached(path: Path, log: pytest.LogCaptureFixture) -> None:
    last = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": "0.4"}
    with Webhook([Answer(200, last), Answer(200, last)]) as server:
        running = Running(path, discord(server))
        running.put(message("long", lines=("x" * 3000,)), message("next"))
        server.wait(lambda: len(server.taken) == 3)
        assert running.end()
    gaps = [after.at - before.at for before, after in zip(server.tries, server.tries[1:], strict=False)]
    assert titles(server) == ["long (1/2)", "long (2/2)", "next"]
    assert all(0.39 <= gap < 2 for gap in gaps)
    assert running.worker.counts.retried == 0


def test_nothing_is_lost_and_nothing_comes_twice_through_errors_and_resets(
    path: Path, log: pytest.LogCaptureFixture
) -> None:
    answers = [
        Answer(500),
        Answer(),
        Answer(reset=True),
        Answer(502),
        Answer(429),
        Answer(),
        Answer(503),
        Answer(reset=True),
    ]
    wanted = [f"message {number}" for number in range(8)]
    with Webhook(answers) as server:
        running = Running(path, discord(server))
        running.put(*(message(title) for title in wanted))
        server.wait(lambda: len(server.taken) == 8)
        assert running.end()
    assert sorted(titles(server)) == wanted
    assert running.worker.counts.retried == 6


def test_a_part_that_arrived_is_not_sent_again(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook([Answer(), Answer(500), Answer(), Answer(reset=True)]) as server:
        running = Running(path, discord(server))
        running.put(message("long", lines=("x" * 5000,)))
        server.wait(lambda: len(server.taken) == 3)
        assert running.end()
    assert titles(server) == ["long (1/3)", "long (2/3)", "long (3/3)"]


def test_an_answer_that_is_lost_makes_a_message_come_twice(path: Path, log: pytest.LogCaptureFixture) -> None:
    """The limit of what can be promised: the webhook has stored it, and nobody can know."""
    with Webhook([Answer(reset=True, stored=True)]) as server:
        running = Running(path, discord(server))
        running.put(message("one"))
        server.wait(lambda: len(server.taken) == 2)
        assert running.end()
    assert titles(server) == ["one", "one"]


def test_a_slow_server_is_given_up_and_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("notifications.discord.ANSWER_SECONDS", 0.3)
    with Webhook([Answer(delay=20.0)]) as server:
        running = Running(path, discord(server))
        running.put(message("one"))
        server.wait(lambda: len(server.tries) == 2)
        assert running.end()
    assert server.tries[1].at - server.tries[0].at < 2
    assert "ReadTimeout" in log.text


def test_a_server_that_was_down_gets_all_in_order_when_it_is_up(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook() as server:
        port = server.port
    wanted = [f"message {number}" for number in range(5)]
    running = Running(path, discord(server))
    running.put(*(message(title) for title in wanted))
    noticed = threading.Event()
    while running.worker.counts.retried < 3:
        assert not noticed.wait(0.01)
    with Webhook(port=port) as back:
        back.wait(lambda: len(back.taken) == 5)
        assert running.end()
    assert sorted(titles(back)) == wanted
    assert titles(back)[1:] == [title for title in wanted if title != titles(back)[0]]
    assert log.text.count("do not arrive") == 1
    assert log.text.count("arrive again") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_webhook_that_is_gone_fails_for_good_with_one_line(
    path: Path, status: int, log: pytest.LogCaptureFixture
) -> None:
    with Webhook([Answer(status)] * 3) as server:
        running = Running(path, discord(server))
        running.put(message("one"), message("two"), message("three"))
        server.wait(lambda: len(server.tries) == 3)
        running.worker.request_stop(5)
        assert running.worker.join(5)
        assert running.outbox.states() == {"failed": 3}
        assert running.end()
    assert log.text.count("fail for good") == 1
    assert f"HTTP {status}" in log.text


def test_a_message_that_is_refused_does_not_hold_the_others(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook([Answer(400)]) as server:
        running = Running(path, discord(server))
        running.put(message("refused"), message("next"))
        server.wait(lambda: len(server.taken) == 1)
        assert running.end()
    assert titles(server) == ["next"]
    assert "is given up (HTTP 400)" in log.text


def test_sends_the_picture_with_the_last_part(path: Path, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    picture = tmp_path / "screen.png"
    picture.write_bytes(b"\x89PNG and more\r\n\x00")
    with Webhook() as server:
        running = Running(path, discord(server))
        running.put(message("seen", attachment=picture), message("unseen", attachment=tmp_path / "gone.png"))
        server.wait(lambda: len(server.taken) == 2)
        assert running.end()
    payload, content = server.taken[0].form
    assert content == picture.read_bytes()
    assert payload["embeds"][0]["image"] == {"url": "attachment://screen.png"}
    assert server.taken[1].json["embeds"][0]["footer"] == {"text": "The picture gone.png could not be attached."}


def test_the_address_may_name_thread_sender_and_whom_to_ping(path: Path, log: pytest.LogCaptureFixture) -> None:
    address = f"discord://Watch@4242/{SECRET}?thread=77&ping=<@99>"
    with Webhook() as server:
        (target,) = targets_of([address], discord_api=server.api)
        target.send(message("@everyone"), 0)
    (post,) = server.taken
    assert "thread_id=77" in post.path
    assert post.json["username"] == "Watch"
    assert "<@99>" in post.json["content"]
    assert post.json["allowed_mentions"] == {"parse": [], "users": ["99"], "roles": []}


@pytest.mark.parametrize(("status", "state"), [(500, "queued"), (404, "failed"), (400, "failed")])
def test_any_other_service_is_apprise_s(
    path: Path, tmp_path: Path, status: int, state: str, log: pytest.LogCaptureFixture
) -> None:
    picture = tmp_path / "screen.png"
    picture.write_bytes(b"\x89PNG")
    with Webhook([Answer()] + [Answer(status)] * 20) as server:
        (target,) = targets_of([f"json://user:{SECRET}@127.0.0.1:{server.port}/hook"])
        running = Running(path, target)
        running.put(message("DU1234567 is up", lines=("first",), attachment=picture), message("two"))
        server.wait(lambda: len(server.tries) == 2)
        running.worker.request_stop(0.5)
        assert running.worker.join(5)
        assert running.outbox.states() == {"sent": 1, state: 1}
        assert running.end()
    post = server.taken[0].json
    assert post["title"] == "DU*****67 is up"
    assert post["message"] == "first\n2026-11-23 12:00:00 UTC"
    assert post["type"] == "failure"
    assert [entry["filename"] for entry in post["attachments"]] == ["screen.png"]


def test_several_targets_get_each_message_and_one_that_fails_holds_no_other(
    path: Path, log: pytest.LogCaptureFixture
) -> None:
    with Webhook([Answer(500)]) as slow, Webhook() as quick:
        targets = [*targets_of([DISCORD], discord_api=slow.api), *targets_of([f"json://127.0.0.1:{quick.port}/"])]
        service = Notifications(path, targets)
        service.start()
        service.notify(message("one"))
        quick.wait(lambda: len(quick.taken) == 1)
        slow.wait(lambda: len(slow.taken) == 1)
        assert service.stop(5)
        assert service.counts() == {"sent": 2, "retried": 1, "failed": 0, "lost": 0}


def test_stop_delivers_what_is_due_and_leaves_the_rest_for_the_next_run(
    path: Path, log: pytest.LogCaptureFixture
) -> None:
    with Webhook([Answer(delay=0.2), Answer(), Answer(), Answer(429, {"Retry-After": "60"})]) as server:
        service = Notifications(path, [discord(server)])
        service.start()
        for number in range(6):
            service.notify(message(str(number)))
        began = time.monotonic()
        assert service.stop(10)
        assert time.monotonic() - began < 5
        assert titles(server) == ["0", "1", "2"]
    with Outbox(path, lambda: time.time() + 61) as outbox:
        assert outbox.states() == {"sent": 3, "queued": 3}


def test_stop_tries_again_while_it_has_time(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook([Answer(500)]) as server:
        service = Notifications(path, [discord(server)])
        service.start()
        service.notify(message("last words"))
        assert service.stop(10)
    assert titles(server) == ["last words"]


def test_stop_ends_in_time_when_the_server_hangs(path: Path, log: pytest.LogCaptureFixture) -> None:
    with Webhook([Answer(delay=20.0)]) as server:
        service = Notifications(path, [discord(server)])
        service.start()
        service.notify(message("one"))
        server.wait(lambda: len(server.tries) == 1)
        began = time.monotonic()
        assert not service.stop(0.3)
        assert time.monotonic() - began < 1


def test_a_service_goes_on_without_its_outbox_and_with_it_again(path: Path, log: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"no database " * 100)
    with Webhook() as server:
        service = Notifications(path, [discord(server)])
        service.start()
        assert service.notify(message("lost")) is None
        assert service.counts()["lost"] == 1
        assert "(lost) is lost: outbox" in log.text
        path.unlink()
        assert service.notify(message("kept")) is not None
        server.wait(lambda: len(server.taken) == 1)
        assert service.stop(5)
    assert titles(server) == ["kept"]


def test_without_targets_nothing_is_written(path: Path) -> None:
    service = Notifications(path, [])
    service.start()
    assert service.notify(message("one")) is None
    assert service.stop(1)
    assert not path.exists()


_SENDS_UNTIL_KILLED = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from notifications.delivery import targets_of
from notifications.message import Message, Severity
from notifications.service import Notifications
service = Notifications(Path(sys.argv[1]), targets_of([sys.argv[2]], discord_api=sys.argv[3]))
service.start()
for number in range(30):
    service.notify(Message("kind", Severity.INFO, str(number), datetime.now(UTC)))
print("told", flush=True)
sys.stdin.read()
"""


def test_a_kill_in_the_middle_loses_nothing(path: Path, log: pytest.LogCaptureFixture) -> None:
    """What was under way when the process died is sent once its claim has run out; it may come twice, the rest once."""
    with Webhook([Answer(delay=0.02)] * 60) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", _SENDS_UNTIL_KILLED, str(path), DISCORD, server.api],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        server.wait(lambda: len(server.tries) >= 5)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        before = len(server.tries)
        assert before < 30
        worker = Worker(path, discord(server), clock=lambda: time.time() + 121)
        worker.start()
        server.wait(lambda: len(set(titles(server))) == 30)
        worker.request_stop(10)
        assert worker.join(10)
    assert len(titles(server)) <= 31
    with Outbox(path, time.time) as outbox:
        assert outbox.states() == {"sent": 30}


def test_pauses_grow_up_to_a_limit() -> None:
    random = Random(7)  # noqa: S311 - no secret
    pauses = [pause(failures, random) for failures in range(1, 60)]
    for failures, seconds in enumerate(pauses, start=1):
        longest = min(300.0, 2.0 ** (failures - 1))
        assert 0.75 * longest <= seconds <= longest


def test_reports_which_address_is_wrong_without_it(log: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AddressError, match="address 2") as error:
        targets_of([DISCORD, f"nonsense://{SECRET}"])
    assert SECRET not in str(error.value)
    with pytest.raises(AddressError) as error:
        targets_of([f"discord://4242/{SECRET}?flags=wrong{SECRET}"])
    assert SECRET not in str(error.value)


def test_a_target_shows_no_address() -> None:
    targets = targets_of([DISCORD, f"json://u:{SECRET}@127.0.0.1/", DISCORD])
    assert len(targets) == 2
    assert SECRET not in f"{targets!r}{[target.name for target in targets]}"


def test_reads_addresses_from_a_file_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text(f"# mine\n{DISCORD}\n\n  json://127.0.0.1/ \n")
    file.chmod(0o600)
    assert read_addresses(file) == (DISCORD, "json://127.0.0.1/")
    file.chmod(0o644)
    with pytest.raises(AddressError, match="chmod 600"):
        read_addresses(file)
    with pytest.raises(AddressError, match="No such file"):
        read_addresses(tmp_path / "missing")


@pytest.mark.parametrize("address", [DISCORD, f"https://discord.com/api/webhooks/4242/{SECRET}?thread=77"])
def test_a_webhook_of_discord_loads_no_other_service(address: str) -> None:
    program = (
        "import sys\n"
        "from notifications.delivery import targets_of\n"
        "assert len(targets_of([sys.stdin.read()])) == 1\n"
        "print(*sorted(name for name in sys.modules if name.startswith('apprise.plugins.')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(targets_of.__code__.co_filename).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", program], input=address, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["apprise.plugins.base", "apprise.plugins.discord"]
