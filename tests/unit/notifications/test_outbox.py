"""The outbox on a real disk."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifications.dedupe import Verdict
from notifications.message import Message, Severity
from notifications.outbox import CLAIM_SECONDS, LONGEST_PAUSE, Outbox, OutboxError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TARGETS = ("a", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def message(title: str, severity: Severity = Severity.INFO, key: str = "", end_of: str = "") -> Message:
    return Message("kind", severity, title, NOW, dedupe_key=key, recovery_of=end_of)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path, clock: Clock) -> Iterator[Outbox]:
    with Outbox(path, clock, bound=4, retained=2) as found:
        yield found


def titles(outbox: Outbox, target: str) -> list[str]:
    """Claim and settle all that is due."""
    found = []
    while delivery := outbox.claim(target, "me"):
        found.append(delivery.message.title)
        outbox.sent(delivery, "me")
    return found


def test_stores_what_it_accepted_for_every_target_and_for_the_next_run(path: Path, clock: Clock) -> None:
    with Outbox(path, clock) as outbox:
        outbox.put(message("one"), TARGETS)
        outbox.put(message("two"), TARGETS)
    with Outbox(path, clock) as outbox:
        assert titles(outbox, "a") == ["one", "two"]
        assert titles(outbox, "b") == ["one", "two"]
        assert titles(outbox, "a") == []


def test_is_for_its_owner_only(path: Path, outbox: Outbox) -> None:
    outbox.put(message("one"), TARGETS)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_two_workers_never_hold_the_same(path: Path, clock: Clock) -> None:
    with Outbox(path, clock) as outbox:
        for number in range(60):
            outbox.put(message(str(number)), ["a"])
    taken: dict[str, list[str]] = {"one": [], "two": []}
    together = threading.Barrier(2)

    def work(owner: str) -> None:
        with Outbox(path, clock) as mine:
            together.wait()
            while delivery := mine.claim("a", owner):
                taken[owner].append(delivery.message.title)
                assert mine.sent(delivery, owner)

    threads = [threading.Thread(target=work, args=(owner,)) for owner in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken["one"] + taken["two"], key=int) == [str(number) for number in range(60)]


def test_what_a_dead_worker_held_comes_free_and_its_claim_counts_no_more(outbox: Outbox, clock: Clock) -> None:
    outbox.put(message("one"), ["a"])
    first = outbox.claim("a", "dead")
    assert first is not None
    assert outbox.part_sent(first, "dead", 1)
    clock.now += CLAIM_SECONDS - 1
    assert outbox.claim("a", "me") is None
    assert outbox.seconds_to_next("a") == 1.0
    clock.now += 1
    second = outbox.claim("a", "me")
    assert second is not None
    assert (second.attempts, second.parts) == (2, 1)
    assert not outbox.sent(first, "dead")
    assert not outbox.part_sent(first, "dead", 2)
    assert outbox.sent(second, "me")


def test_waits_as_long_as_it_was_asked_to(outbox: Outbox, clock: Clock) -> None:
    outbox.put(message("one"), ["a"])
    delivery = outbox.claim("a", "me")
    assert delivery is not None
    outbox.retry(delivery, "me", 30.0, "HTTP 500")
    assert outbox.claim("a", "me") is None
    assert outbox.seconds_to_next("a") == 30.0
    clock.now += 30
    assert titles(outbox, "a") == ["one"]
    assert outbox.seconds_to_next("a") is None


def test_a_clock_set_back_delays_nothing(outbox: Outbox, clock: Clock) -> None:
    for title in ("one", "two"):
        outbox.put(message(title), ["a"])
    delivery = outbox.claim("a", "me")
    assert delivery is not None
    outbox.retry(delivery, "me", 30.0, "HTTP 500")
    assert outbox.claim("a", "dead") is not None
    clock.now -= 2 * LONGEST_PAUSE
    assert titles(outbox, "a") == ["one", "two"]


def test_when_full_the_oldest_of_the_least_severity_goes_and_never_an_alert(outbox: Outbox) -> None:
    outbox.put(message("w1", Severity.WARNING), ["a"])
    outbox.put(message("i1"), ["a"])
    outbox.put(message("i2"), ["a"])
    outbox.put(message("a1", Severity.ALERT), ["a"])
    for title in ("a2", "a3", "a4", "a5"):
        outbox.put(message(title, Severity.ALERT), ["a"])
    outbox.put(message("w2", Severity.WARNING), ["a"])
    assert outbox.counters()["dropped"] == 4
    assert titles(outbox, "a") == ["a1", "a2", "a3", "a4", "a5"]


def test_what_was_dropped_counts_as_untold(outbox: Outbox) -> None:
    outbox.put(message("old", key="k"), ["a"])
    for number in range(4):
        outbox.put(message(f"a{number}", Severity.ALERT), ["a"])
    assert outbox.put(message("end", end_of="k"), ["a"]) is Verdict.UNREPORTED
    assert outbox.put(message("refused", key="k"), ["a"]) is Verdict.SEND
    assert outbox.put(message("end", end_of="k"), ["a"]) is Verdict.UNREPORTED


def test_what_is_being_sent_is_not_dropped(outbox: Outbox) -> None:
    outbox.put(message("sending"), ["a"])
    delivery = outbox.claim("a", "me")
    for number in range(5):
        outbox.put(message(str(number)), ["a"])
    assert delivery is not None
    assert outbox.sent(delivery, "me")
    assert titles(outbox, "a") == ["2", "3", "4"]


def test_retains_only_so_many_that_are_done(outbox: Outbox) -> None:
    for number in range(4):
        outbox.put(message(str(number)), ["a"])
    titles(outbox, "a")
    assert outbox.states() == {"sent": 2}


def test_counts_repeats_on_disk(path: Path, clock: Clock) -> None:
    with Outbox(path, clock, window=60.0) as outbox:
        assert outbox.put(message("trouble", key="k"), ["a"]) is Verdict.SEND
        assert outbox.put(message("trouble", key="k"), ["a"]) is Verdict.COUNT
    with Outbox(path, clock, window=60.0) as outbox:
        assert outbox.put(message("trouble", key="k"), ["a"]) is Verdict.COUNT
        assert outbox.put(message("end", end_of="k"), ["a"]) is Verdict.SEND
        assert outbox.put(message("end", end_of="k"), ["a"]) is Verdict.UNREPORTED
        assert outbox.counters() == {"accepted": 2, "repeated": 2, "recovery_untold": 1, "dropped": 0}
        assert titles(outbox, "a") == ["trouble", "end"]


def test_an_end_is_that_of_all_alerts_below_its_key(outbox: Outbox, clock: Clock) -> None:
    for key in ("gateway/login", "gateway/server", "gateway/server", "gatewayx", "note/x"):
        outbox.put(message(key, key=key), ["a"])
    clock.now += 60
    assert outbox.put(message("end", end_of="gateway"), ["a"]) is Verdict.SEND
    assert outbox.put(message("end", end_of="gateway"), ["a"]) is Verdict.UNREPORTED
    assert outbox.put(message("again", key="gateway/login"), ["a"]) is Verdict.SEND
    assert outbox.put(message("again", key="gatewayx"), ["a"]) is Verdict.COUNT


def test_gives_up_what_waits_for_a_target_that_is_not_configured(outbox: Outbox) -> None:
    outbox.put(message("one"), TARGETS)
    assert outbox.fail_other_targets(["a"]) == 1
    assert titles(outbox, "b") == []
    assert titles(outbox, "a") == ["one"]
    outbox.put(message("two"), TARGETS)
    assert outbox.fail_other_targets([]) == 2


def test_passes_over_what_another_version_wrote(path: Path, outbox: Outbox) -> None:
    outbox.put(message("strange"), ["a"])
    outbox.put(message("known"), ["a"])
    with sqlite3.connect(path) as db:
        db.execute("UPDATE messages SET body = '{\"a\": 1}' WHERE id = 1")
    assert titles(outbox, "a") == ["known"]
    assert outbox.states() == {"failed": 1, "sent": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"this is no database at all, but long enough to be looked at as one" * 20, "not a database"),
        (None, "another program's database"),
    ],
)
def test_reports_what_is_wrong_with_a_file(path: Path, clock: Clock, content: bytes | None, words: str) -> None:
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE other (x)")
    else:
        path.write_bytes(content)
    with pytest.raises(OutboxError, match=words) as error:
        Outbox(path, clock)
    assert str(path) in str(error.value)
    assert "Move it away" in str(error.value)


def test_reports_that_a_file_is_damaged(path: Path, clock: Clock) -> None:
    with Outbox(path, clock) as outbox:
        for number in range(200):
            outbox.put(message(f"{number} " + "x" * 200), ["a"])
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xa5" * (4096 * 3)
    path.write_bytes(content)
    with pytest.raises(OutboxError, match="damaged"):
        Outbox(path, clock)


def test_does_not_wait_long_for_another_that_writes(path: Path, outbox: Outbox) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxError, match="another process writes"):
        outbox.put(message("one"), ["a"])
    other.execute("ROLLBACK")
    other.close()
    assert outbox.put(message("two"), ["a"]) is Verdict.SEND


def test_reports_that_the_disk_is_full_and_goes_on_when_it_is_not(path: Path, outbox: Outbox) -> None:
    # The kernel refuses to let files grow, which is what a full disk does to SQLite.
    outbox.put(message("one"), ["a"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(f"{path.name}-wal").stat().st_size, before[1]))
    try:
        with pytest.raises(OutboxError, match=r"the disk is full|reading or writing failed"):
            outbox.put(message("lost"), ["a"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert outbox.put(message("two"), ["a"]) is Verdict.SEND
    assert titles(outbox, "a") == ["one", "two"]


def test_reports_that_it_cannot_be_opened(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path / "missing" / "outbox.sqlite3", clock)


_PUTS_UNTIL_KILLED = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from notifications.message import Message, Severity
from notifications.outbox import Outbox
with Outbox(Path(sys.argv[1]), time.time) as outbox:
    number = 0
    while True:
        outbox.put(Message("kind", Severity.INFO, str(number), datetime.now(UTC)), ["a"])
        print(number, flush=True)
        number += 1
"""


def test_what_was_accepted_survives_a_kill(path: Path, clock: Clock) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _PUTS_UNTIL_KILLED, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(20)]
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    accepted = [line.strip() for line in lines if line.endswith("\n")]
    assert len(accepted) >= 20
    with Outbox(path, clock) as outbox:
        assert titles(outbox, "a")[: len(accepted)] == accepted
