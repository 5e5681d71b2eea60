"""The names of episodes: one life of a position, and what continues it. Pure.

An episode is named by a ULID, so its name shows when the position was counted first. A split or a partial assignment
ends an episode, but the position goes on: the next one is called ``NAME.1``, then ``NAME.2``. What must happen once in
the life of a position, such as a partial target, belongs to all of them; levels and decisions to one alone. A group is
in the episodes of its legs, joined by ``|`` in the order of the legs, which means nothing.
"""

from __future__ import annotations

from datetime import datetime

from position_manager.ulid import time_of

LEGS = "|"


def continued(episode: str) -> str:
    """The episode that follows when the same position goes on after a split or an assignment."""
    root, _, number = episode.partition(".")
    return f"{root}.{int(number or 0) + 1}"


def same_life(one: str, other: str) -> bool:
    """Whether two episodes are of one and the same position."""
    return bool(one) and _roots(one) == _roots(other)


def opened_at(episode: str) -> datetime | None:
    """When the position was first counted, of a group its youngest leg; None if that is not known."""
    # Journals of the first version named an episode after an OCA group.
    times = [time_of(root.removeprefix("pm-")) for root in _roots(episode)]
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _roots(episode: str) -> list[str]:
    return sorted(part.partition(".")[0] for part in episode.split(LEGS))
