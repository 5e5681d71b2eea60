"""Where the time of a first ``make deploy`` goes: ``python -m bench.first_deploy``, from the root, after one.

Reads what `scripts/setup` and `make deploy` have recorded on this machine, the last time that there was something to
do. What was there already took 0 s; remove it first (`make clean`) to measure a first deploy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.simulator import ROOT

RECORD = ROOT / ".sandbox/setup.times"
PARALLEL = {
    "Python packages": "beside the engine and the images",
    "the dashboard's page": "beside the engine and the images",
    "image of the sandbox host": "beside that of the simulator",
}


def read(record: Path) -> list[tuple[str, int]]:
    """Steps and their seconds, in the order in which they ended."""
    lines = record.read_text().splitlines() if record.exists() else []
    return [(name, int(seconds)) for name, seconds in (line.split("\t") for line in lines)]


def rows(record: Path = RECORD) -> list[dict[str, object]]:
    """A row for each step."""
    return [{"step": name, "seconds": seconds, "runs": PARALLEL.get(name, "")} for name, seconds in read(record)]


def main(_arguments: Sequence[str] | None = None) -> int:
    """Print the rows."""
    found = rows()
    sys.stdout.write("".join(f"{row['step']}: {row['seconds']} s\n" for row in found) or "nothing is recorded yet\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
