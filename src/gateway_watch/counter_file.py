"""Counters that survive a restart of their process: a small file of counts by name and label.

Each file has one process that writes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from host_service.statefile import write_json

Counts = dict[str, dict[str, int]]
"""By name, then by the value of the counter's label (empty for a counter without one)."""


@dataclass
class Counters:
    """``last_run``: why the last run of the gateway ended, `RUNS` while one runs, empty before the first."""

    counts: Counts = field(default_factory=dict)
    last_run: str = ""

    def add(self, name: str, label: str = "") -> None:
        labels = self.counts.setdefault(name, {})
        labels[label] = labels.get(label, 0) + 1


RUNS = "runs"


def read(path: Path) -> Counters:
    """As last written. A missing or damaged file is empty: those who read counters expect that they can start at 0
    again."""
    try:
        document = json.loads(path.read_bytes())
        counts = {
            str(name): {str(label): max(0, int(count)) for label, count in labels.items()}
            for name, labels in document["counts"].items()
        }
        return Counters(counts, str(document["last_run"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Counters()


def write(path: Path, counters: Counters) -> None:
    """Replace the file. Raises OSError."""
    write_json(path, {"counts": counters.counts, "last_run": counters.last_run})


def count_one(path: Path, name: str, label: str) -> None:
    """Raises OSError."""
    counters = read(path)
    counters.add(name, label)
    write(path, counters)
