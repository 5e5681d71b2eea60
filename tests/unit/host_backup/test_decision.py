"""Whether a backup may be restored: by the instances, by what runs, and by which journal is newer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from host_backup.decision import Forced, Relation, Wanted, decide, misfits, relation
from host_backup.facts import HostFacts
from host_backup.manifest import GatewayFacts, JournalFacts, ManagerFacts, Manifest, Part

PATH = "/var/lib/position-manager/position-manager/journal-paper.db"
JOURNAL = JournalFacts(
    PATH,
    "paper",
    ("DU1234567",),
    2,
    "2026-11-01T00:00:00+00:00",
    100,
    "2026-11-29T20:00:00+00:00",
    7,
    1,
    3,
    "e100",
    "c",
)
MANIFEST = Manifest(
    "sandbox",
    datetime(2026, 11, 30, 8, 15, tzinfo=UTC),
    "abc",
    (GatewayFacts("ib-gateway", "paper", "ib:10.50"),),
    (ManagerFacts("position-manager", "paper"),),
    (JOURNAL,),
    (
        Part("/var/lib/ib-gateway/ib-gateway/state", True, 0o700, "0", "0", directory=True),
        Part("/var/lib/position-manager/position-manager", True, 0o700, "pm", "pm", directory=True),
        Part(PATH, True, 0o600, "pm", "pm", size=1, sha256="x"),
        Part("/etc/position-manager/position-manager.yml", False, 0o640, "0", "pm", size=1, sha256="x"),
    ),
)
WANTED = Wanted({"ib-gateway": "paper"}, {"position-manager": "paper"}, {"position-manager": ("DU1234567",)})
FRESH = HostFacts()


def host(journal: JournalFacts, prefix: str = "same", **more: Any) -> HostFacts:
    return replace(HostFacts(journals={PATH: journal}, prefixes={PATH: prefix}), **more)


OLDER = replace(JOURNAL, last_event=60, events_digest="e60", content_digest="c60")
NEWER = replace(JOURNAL, last_event=130, events_digest="e130", content_digest="c130")
MEMORY = replace(JOURNAL, content_digest="other marks")
EMPTY = replace(JOURNAL, created="2026-11-30T00:00:00+00:00", last_event=0, events_digest="e0", content_digest="c0")
OTHER = replace(NEWER, created="2026-11-30T00:00:00+00:00")


@pytest.mark.parametrize(
    ("journal", "prefix", "found", "safe"),
    [
        (None, "", Relation.ABSENT, True),
        (JOURNAL, "same", Relation.SAME, True),
        (EMPTY, "", Relation.EMPTY, True),
        (OLDER, "same", Relation.CONTINUED, True),
        (NEWER, "same", Relation.NEWER, False),
        (MEMORY, "same", Relation.REMEMBERS, False),
        (OLDER, "differs", Relation.OTHER, False),
        (NEWER, "differs", Relation.OTHER, False),
        (OTHER, "same", Relation.OTHER, False),
    ],
)
def test_which_journal_is_newer(journal: JournalFacts | None, prefix: str, found: Relation, safe: bool) -> None:
    assert relation(journal, JOURNAL, prefix, "same") is found
    assert found.safe is safe


def test_a_fresh_host_is_restored() -> None:
    decision = decide(MANIFEST, {}, FRESH, Forced())
    assert decision.refusals == ()
    assert "restore /var/lib/position-manager/position-manager; what is there is kept aside" in decision.steps[0]
    assert "restore /var/lib/ib-gateway/ib-gateway/state" in decision.steps[1]


@pytest.mark.parametrize("journal", [NEWER, MEMORY, OTHER])
def test_an_older_journal_is_restored_over_a_newer_one_only_when_forced(journal: JournalFacts) -> None:
    (refusal,) = decide(MANIFEST, {PATH: "same"}, host(journal), Forced()).refusals
    assert f"event {journal.last_event}" in refusal
    assert "-e restore_older_journal=true" in refusal
    assert decide(MANIFEST, {PATH: "same"}, host(journal), Forced(older_journal=True)).refusals == ()


@pytest.mark.parametrize("journal", [JOURNAL, OLDER, EMPTY])
def test_a_journal_that_the_backup_contains_is_replaced(journal: JournalFacts) -> None:
    assert decide(MANIFEST, {PATH: "same"}, host(journal), Forced()).refusals == ()


def test_what_runs_is_stopped_only_when_forced() -> None:
    facts = host(OLDER, running=("position-manager.service",))
    (refusal,) = decide(MANIFEST, {PATH: "same"}, facts, Forced()).refusals
    assert "position-manager.service runs" in refusal
    assert "-e restore_over_running=true" in refusal
    decision = decide(MANIFEST, {PATH: "same"}, facts, Forced(over_running=True))
    assert decision.refusals == ()
    assert "stop position-manager.service once no order of it is open" in decision.steps


@pytest.mark.parametrize("changes", [{"accounts": ("DU7654321",)}, {"mode": "live"}])
def test_the_journal_of_another_account_is_never_replaced(changes: dict[str, Any]) -> None:
    facts = host(replace(OLDER, **changes))
    (refusal,) = decide(MANIFEST, {PATH: "same"}, facts, Forced(True, True)).refusals
    assert "Never replace the journal of another account" in refusal
    assert "DU7654321" not in refusal


def test_a_journal_that_cannot_be_read_is_replaced_only_when_forced() -> None:
    facts = HostFacts(unreadable={PATH: "It is damaged."})
    (refusal,) = decide(MANIFEST, {}, facts, Forced()).refusals
    assert "cannot be read" in refusal
    assert decide(MANIFEST, {}, facts, Forced(older_journal=True)).refusals == ()


def test_a_journal_that_the_backup_lacks_is_moved_aside_only_when_forced() -> None:
    path = PATH.replace("paper", "live")
    facts = HostFacts(journals={path: replace(NEWER, path=path, mode="live")})
    (refusal,) = decide(MANIFEST, {}, facts, Forced()).refusals
    assert f"{path} on the host is not in the backup" in refusal
    assert decide(MANIFEST, {}, facts, Forced(older_journal=True)).refusals == ()


def test_a_restore_that_is_complete_is_not_repeated() -> None:
    """The run that was killed after it: the services may run again by now."""
    facts = host(NEWER, restored=MANIFEST.id, running=("position-manager.service",))
    decision = decide(MANIFEST, {PATH: "same"}, facts, Forced())
    assert decision.already
    assert decision.refusals == ()
    assert not decide(MANIFEST, {PATH: "same"}, facts, Forced(older_journal=True)).already
    assert not decide(MANIFEST, {PATH: "same"}, replace(facts, pending=MANIFEST.id), Forced()).already
    assert not decide(MANIFEST, {PATH: "same"}, replace(facts, restored="another"), Forced()).already


def test_the_backup_of_other_instances_is_refused() -> None:
    assert misfits(MANIFEST, WANTED) == ()
    live = Wanted({"ib-gateway": "live"}, {"position-manager": "paper"}, {})
    assert "was in mode paper in the backup, and is live" in misfits(MANIFEST, live)[0]
    more = Wanted({"ib-gateway": "paper", "second": "paper"}, {}, {})
    found = misfits(MANIFEST, more)
    assert "The inventory has the gateway second" in found[0]
    assert "The backup has the position manager position-manager" in found[1]


def test_the_journal_of_another_account_is_refused() -> None:
    other = replace(WANTED, accounts={"position-manager": ("DU7654321",)})
    (refusal,) = misfits(MANIFEST, other)
    assert "DU*****67" in refusal
    assert "DU1234567" not in refusal
    assert misfits(MANIFEST, replace(WANTED, accounts={"position-manager": ()})) == ()


@pytest.mark.parametrize(("free", "refused"), [(90 << 20, True), (101 << 20, False), (None, False)])
def test_a_disk_that_is_too_full_is_refused_before_anything_is_stopped(free: int | None, *, refused: bool) -> None:
    decision = decide(MANIFEST, {}, HostFacts(free=free), Forced(over_running=True, older_journal=True))
    assert [text for text in decision.refusals if "MB free" in text] == list(decision.refusals)
    assert bool(decision.refusals) is refused
