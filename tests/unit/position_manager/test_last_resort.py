"""Alerts with a full disk: they arrive without the outbox, and through it when it is over."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.unit.notifications.webhook import Answer, Webhook

from notifications.delivery import targets_of
from notifications.message import Message, Severity
from notifications.service import Notifications
from position_manager.config.schema import Config
from position_manager.paths import Paths
from position_manager.service.last_resort import LastResort
from position_manager.service.service import notifications

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
DEADLINE = 20.0


@contextmanager
def full() -> Iterator[None]:
    """No file of this process can be written beyond its first byte: what a full disk does to the outbox."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def alert(title: str, severity: Severity = Severity.ALERT) -> Message:
    return Message("journal_fault", severity, title, NOW, ("The disk is full.",), (), f"key of {title}")


def titles(webhook: Webhook) -> list[str]:
    return [json.loads(post.body)["title"] for post in webhook.taken]


def wait_for(webhook: Webhook, count: int) -> list[str]:
    """The titles, once there are so many."""
    webhook.wait(lambda: len(webhook.taken) >= count, DEADLINE)
    return titles(webhook)


@contextmanager
def notifying(outbox: Path, webhook: Webhook) -> Iterator[LastResort]:
    addresses = [f"json://127.0.0.1:{webhook.port}/"]
    people = Notifications(outbox, targets_of(addresses))
    people.start()
    try:
        yield LastResort(people, targets_of(addresses), pause=lambda _seconds: None)
    finally:
        people.stop(10)


def test_with_a_full_disk_an_alert_arrives_and_it_is_repeated_when_it_is_over(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    with Webhook() as webhook, notifying(outbox, webhook) as people:
        assert people.notify(alert("before")) is not None
        wait_for(webhook, 1)
        with full():
            assert people.notify(alert("the journal cannot be written")) is None
            assert people.notify(alert("the journal cannot be written")) is None
            assert people.notify(alert("only information", Severity.INFO)) is None
            assert wait_for(webhook, 2) == ["before", "the journal cannot be written"]
        assert people.notify(alert("it works again", Severity.INFO)) is not None
        reported = wait_for(webhook, 4)
        assert sorted(reported[2:]) == ["it works again", "the journal cannot be written"]
        assert people.notify(alert("later", Severity.INFO)) is not None
        assert wait_for(webhook, 5)[4] == "later", "it is repeated once"


def test_a_target_that_does_not_answer_at_first_is_asked_again(tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    with Webhook() as webhook, notifying(outbox, webhook) as people:
        people.notify(alert("before"))
        wait_for(webhook, 1)
        webhook.answers = [Answer(status=503), Answer(status=503)]
        with full():
            people.notify(alert("an alert"))
            assert wait_for(webhook, 2)[1] == "an alert"


def test_without_targets_nothing_is_reported(tmp_path: Path) -> None:
    people = LastResort(Notifications(tmp_path / "outbox.db", ()), ())
    assert people.notify(alert("an alert")) is None
    assert not (tmp_path / "outbox.db").exists()


def test_the_service_notifies_through_it(tmp_path: Path) -> None:
    address = tmp_path / "url"
    with Webhook() as webhook:
        address.write_text(f"json://127.0.0.1:{webhook.port}/")
        address.chmod(0o600)
        config = Config.model_validate({"mode": "sim", "notifications": {"discord_url_file": str(address)}})
        with notifications(Paths(tmp_path / "pm.yml", tmp_path, tmp_path), config) as people:
            people.notify(alert("before"))
            wait_for(webhook, 1)
            with full():
                people.notify(alert("an alert"))
                assert wait_for(webhook, 2)[1] == "an alert"


def test_what_waits_is_bounded() -> None:
    with Webhook() as webhook:
        webhook.answers = [Answer(delay=0.2)] * 3
        people = LastResort(_NoOutbox(), targets_of([f"json://127.0.0.1:{webhook.port}/"]))
        for number in range(200):
            people.notify(alert(f"alert {number}"))
        assert len(people._missed) == 50


class _NoOutbox:
    def notify(self, _message: Message) -> None:
        return None

    def counts(self) -> dict[str, int]:
        return {}
