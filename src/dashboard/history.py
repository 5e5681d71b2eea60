"""The last seven days of each gateway as a strip: when which state started. Pure, with one small file beside it.

The page's own service records it, not the gateway's: only an observer can record that a gateway was down.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from host_service.statefile import write_json

SPAN = timedelta(days=7)
GAP = timedelta(minutes=10)
"""A longer time in which nothing was recorded is unknown; the file is written more often."""
MOST = 1000
"""Entries of one gateway: one that changes its state all the time must not fill the disk."""


class Word(StrEnum):
    """What a gateway was. `approval`: it waited for a person; `restart`: it started or logged in."""

    READY = "ready"
    APPROVAL = "approval"
    LINK_LOST = "link_lost"
    DOWN = "down"
    RESTART = "restart"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Entry:
    """A state and when it started (aware)."""

    at: datetime
    word: Word


@dataclass(frozen=True)
class Strip:
    """The states of one gateway, ascending; each lasts until the next."""

    entries: tuple[Entry, ...] = ()

    def with_state(self, word: Word, now: datetime) -> Strip:
        """The state at `now`. What was recorded while the clock was ahead is left out."""
        if self.entries and self.entries[-1].at > now:
            return Strip(tuple(entry for entry in self.entries if entry.at <= now)).with_state(word, now)
        if self.entries and self.entries[-1].word is word:
            return self
        return Strip((*self.entries, Entry(now, word))).pruned(now)

    def unknown_from(self, moment: datetime) -> Strip:
        """Nothing was recorded since a moment."""
        if not self.entries or self.entries[-1].word is Word.UNKNOWN:
            return self
        return replace(self, entries=(*self.entries, Entry(max(moment, self.entries[-1].at), Word.UNKNOWN)))

    def pruned(self, now: datetime) -> Strip:
        """Without what ended before the span, and never more than `MOST` entries."""
        begin = now - SPAN
        old = [index for index, entry in enumerate(self.entries) if entry.at <= begin]
        entries = self.entries[old[-1] :] if old else self.entries
        return replace(self, entries=entries[-MOST:])

    def shown(self, now: datetime) -> list[dict[str, str]]:
        """For the page: from the start of the span on."""
        begin = now - SPAN
        entries = self.pruned(now).entries
        if not entries or entries[0].at > begin:
            entries = (Entry(begin, Word.UNKNOWN), *entries)
        return [{"from": max(entry.at, begin).isoformat(), "state": entry.word.value} for entry in entries]


def read(path: Path, now: datetime) -> dict[str, Strip]:
    """The strips as stored, with what was not recorded since. A missing file is an empty one. Raises OSError, and
    ValueError for a file that is damaged."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(text)
        seen = datetime.fromisoformat(document["seen"])
        strips = {str(name): _strip(entries) for name, entries in document["gateways"].items()}
        late = now - seen > GAP
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {name: strip.unknown_from(seen) if late else strip for name, strip in strips.items()}


def _strip(entries: Iterable[tuple[str, str]]) -> Strip:
    return Strip(tuple(Entry(datetime.fromisoformat(at), Word(word)) for at, word in entries))


def write(path: Path, strips: Mapping[str, Strip], now: datetime) -> None:
    """Store the strips as of `now`. Raises OSError."""
    gateways = {
        name: [(entry.at.isoformat(), entry.word.value) for entry in strip.entries] for name, strip in strips.items()
    }
    write_json(path, {"seen": now.isoformat(), "gateways": gateways})
