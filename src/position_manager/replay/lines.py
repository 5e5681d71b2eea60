"""The lines of a replay's plot, which break where no quote was fresh. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import nan

from position_manager.replay.replay import Sample


def stretches(samples: Sequence[Sample], max_age: timedelta) -> Iterator[Sequence[Sample]]:
    """The samples without the gaps between them: a quote that is older than ``max_age`` is no price any more."""
    breaks = [n for n, (one, next_one) in enumerate(pairwise(samples), 1) if next_one.time - one.time > max_age]
    for first, last in pairwise([0, *breaks, len(samples)]):
        if last > first:
            yield samples[first:last]


def line_of(
    samples: Sequence[Sample], max_age: timedelta, value: Callable[[Sample], Decimal | None]
) -> tuple[list[datetime], list[float]]:
    """A line that ends where its last quote grows too old, and starts again with the next one."""
    times: list[datetime] = []
    values: list[float] = []
    for part in stretches(samples, max_age):
        if times:
            times.append(times[-1] + max_age)
            values.append(nan)
        for sample in part:
            found = value(sample)
            times.append(sample.time)
            values.append(nan if found is None else float(found))
    return times, values
