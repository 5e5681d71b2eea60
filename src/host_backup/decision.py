"""Whether a backup may be restored on a host, and what that would do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from host_backup import layout
from host_backup.facts import HostFacts
from host_backup.manifest import JournalFacts, Manifest
from ib_connection.accounts import masked_list

SPARE_BYTES = 100 << 20
"""That must be left for everything else on the host."""


class Relation(Enum):
    """A journal on the host, compared with the one in the backup."""

    ABSENT = "there is none on the host"
    EMPTY = "the host's has no event"
    SAME = "they are equal"
    CONTINUED = "the backup's continues the host's"
    NEWER = "the host's is newer"
    REMEMBERS = "the host's has the same events, and has remembered other levels of rules since"
    OTHER = "the host's is another journal"

    @property
    def safe(self) -> bool:
        """Whether nothing that the host knows is lost."""
        return self not in (Relation.NEWER, Relation.REMEMBERS, Relation.OTHER)


@dataclass(frozen=True)
class Wanted:
    """The instances of the inventory: their modes by name, and the accounts that a manager expects (may be empty)."""

    gateways: Mapping[str, str]
    managers: Mapping[str, str]
    accounts: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Forced:
    """What the operator has allowed."""

    over_running: bool = False
    older_journal: bool = False


@dataclass(frozen=True)
class Decision:
    """``refusals`` with their remedies: empty if the restore may proceed. ``steps`` are what it does."""

    refusals: tuple[str, ...]
    steps: tuple[str, ...]
    already: bool = False
    """The backup is restored already; what follows a restore is done again, and nothing is replaced."""


def relation(host: JournalFacts | None, backup: JournalFacts, host_prefix: str, backup_prefix: str) -> Relation:
    """The prefixes are the digests of the events up to the last one that both have."""
    if host is None:
        return Relation.ABSENT
    if (host.created, host.events_digest, host.content_digest) == (
        *(backup.created, backup.events_digest, backup.content_digest),
    ):
        return Relation.SAME
    if host.last_event == 0:
        return Relation.EMPTY
    if host.created != backup.created or host_prefix != backup_prefix:
        return Relation.OTHER
    if host.last_event == backup.last_event:
        return Relation.REMEMBERS
    return Relation.CONTINUED if host.last_event < backup.last_event else Relation.NEWER


def misfits(manifest: Manifest, wanted: Wanted) -> tuple[str, ...]:
    """Why a backup does not belong to the instances of an inventory. Cannot be forced."""
    return tuple(_misfits(manifest, wanted))


def _misfits(manifest: Manifest, wanted: Wanted) -> Iterator[str]:
    for kind, there, configured in (
        ("gateway", {each.name: each.trading_mode for each in manifest.gateways}, wanted.gateways),
        ("position manager", {each.name: each.mode for each in manifest.managers}, wanted.managers),
    ):
        for name in sorted({*there, *configured}):
            if name not in configured:
                yield (
                    f"The backup has the {kind} {name}, which the inventory does not have. "
                    "Add it to the inventory, or use another backup."
                )
            elif name not in there:
                yield (
                    f"The inventory has the {kind} {name}, which the backup does not have. "
                    "Use a backup of this host, or deploy the new instance after the restore."
                )
            elif there[name] != configured[name]:
                yield (
                    f"The {kind} {name} was in mode {there[name]} in the backup, and is {configured[name]} in the "
                    "inventory. Restore with the former mode, then change it."
                )
    for journal in manifest.journals:
        expected = wanted.accounts.get(_instance(journal.path), ())
        if expected and wanted.managers.get(_instance(journal.path)) == journal.mode:
            others = sorted(set(journal.accounts) - set(expected))
            if others:
                yield (
                    f"{journal.path} in the backup belongs to {masked_list(others)}; the inventory expects "
                    f"{masked_list(expected)}. Never restore the journal of another account: use a backup of this one."
                )


def decide(manifest: Manifest, prefixes: Mapping[str, str], facts: HostFacts, forced: Forced) -> Decision:
    """``prefixes``: of the journals in the backup, as those of the facts."""
    relations = {
        journal.path: relation(
            facts.journals.get(journal.path),
            journal,
            facts.prefixes.get(journal.path, ""),
            prefixes.get(journal.path, ""),
        )
        for journal in manifest.journals
    }
    again = forced.older_journal
    if not again and facts.restored == manifest.id and not facts.pending and _only_continued(relations, facts):
        return Decision((), (f"{manifest.id} is restored already; deploy and verify",), already=True)
    refusals = list(_refusals(manifest, relations, facts, forced))
    return Decision(tuple(refusals), tuple(_steps(manifest, relations, facts)))


def _only_continued(relations: Mapping[str, Relation], facts: HostFacts) -> bool:
    """Whether every journal of the backup is on the host, perhaps with later events."""
    continues = (Relation.SAME, Relation.REMEMBERS, Relation.NEWER)
    return not facts.unreadable and all(found in continues for found in relations.values())


def _refusals(manifest: Manifest, relations: Mapping[str, Relation], facts: HostFacts, forced: Forced) -> Iterator[str]:
    # The archive, what is unpacked, and the copy of a journal that is checked. Found out after the stop, a full disk
    # would leave the manager stopped.
    needed = 3 * sum(part.size for part in manifest.parts) + SPARE_BYTES
    if facts.free is not None and facts.free < needed:
        yield (
            f"The host has {facts.free >> 20} MB free, and the restore needs {needed >> 20} MB. "
            "Free space first: journalctl --vacuum-size=200M, docker image prune; or enlarge the disk."
        )
    if facts.running and not forced.over_running:
        yield (
            f"{', '.join(facts.running)} runs on the host. A restore would replace what it works with. "
            "To stop it once no order is open, and restore: -e restore_over_running=true."
        )
    for journal in manifest.journals:
        host, found = facts.journals.get(journal.path), relations[journal.path]
        if host is None:
            continue
        if host.mode != journal.mode or not set(host.accounts) <= set(journal.accounts):
            yield (
                f"{journal.path} on the host belongs to {masked_list(sorted(host.accounts))} ({host.mode}), "
                f"the backup's to {masked_list(sorted(journal.accounts))} ({journal.mode}). Never replace the journal "
                "of another account: move it away by hand if it is not needed."
            )
        elif not found.safe and not forced.older_journal:
            yield (
                f"{journal.path}: {found.value} (event {host.last_event} of {host.last_time or 'never'}; the backup's: "
                f"{journal.last_event} of {journal.last_time or 'never'}). What happened since would be forgotten, "
                "and is then only known to the broker. To restore the older one anyway: -e restore_older_journal=true."
            )
    for path, reason in facts.unreadable.items():
        if path in relations and not forced.older_journal:
            yield (
                f"{path} on the host cannot be read, so it is not known whether it is newer ({reason}) "
                "To replace it anyway (it is kept aside): -e restore_older_journal=true."
            )
    lost = [
        path for path in {*facts.journals, *facts.unreadable} if path not in relations and _replaced(path, manifest)
    ]
    for path in sorted(lost):
        if not forced.older_journal:
            yield (
                f"{path} on the host is not in the backup and would be moved aside. "
                "To restore anyway: -e restore_older_journal=true."
            )


def _replaced(path: str, manifest: Manifest) -> bool:
    target = layout.targets(path)
    return any(part.path == target for part in manifest.parts)


def _steps(manifest: Manifest, relations: Mapping[str, Relation], facts: HostFacts) -> Iterator[str]:
    if facts.pending:
        yield f"complete the restore of {facts.pending} that did not end"
    for unit in facts.running:
        yield f"stop {unit} once no order of it is open"
    for target in restored_targets(manifest):
        yield f"restore {target}; what is there is kept aside"
    for journal in manifest.journals:
        yield (
            f"{journal.path}: event {journal.last_event} of {journal.last_time or 'never'}, "
            f"{journal.open_intents} open intents; {relations[journal.path].value}"
        )
    yield "deploy with the settings and secrets of the inventory, start, and verify"


def restored_targets(manifest: Manifest) -> list[str]:
    """The directories that are replaced, managers first: a journal must not be missing when something else fails."""
    found = {target for part in manifest.parts if part.state and (target := layout.targets(part.path)) is not None}
    return sorted(found, key=lambda path: ("position-manager" not in path, path))


def _instance(path: str) -> str:
    return Path(path).parts[4]
