"""Prices as a pure function of seed, name and moment: a random walk that can be asked at any step, in any order.

Time is cut into steps of a quarter of a second, counted from 1970. Over each block of 2**25 steps (97 days) the
logarithm of the price is a bridge that starts and ends at the base price. Its middle is displaced at random by half
the deviation that the volatility gives for the block, then the middles of both halves, and so on down to the single
step. A displacement is a hash of where it is, so that any step is found in 25 halvings, and nothing is ever stored.

Displacements are uniform within sqrt(3) standard deviations. That they are bounded gives each stretch a highest and
lowest value it can reach, and so the true extremes of a stretch are found without checking all its steps.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import exp, sqrt
from typing import NamedTuple

STEP = timedelta(milliseconds=250)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BLOCK_LEVELS = 25
BLOCK_STEPS = 1 << BLOCK_LEVELS
SECONDS_PER_YEAR = 365 * 86400

BRIDGES_CACHED = 4
_MASK = (1 << 64) - 1


def step_at(moment: datetime) -> int:
    """Return the step that an aware moment falls into."""
    return (moment - EPOCH) // STEP


def moment_of(step: int) -> datetime:
    """Return the moment, in UTC, at which a step starts."""
    return EPOCH + step * STEP


def key_of(*facts: object) -> int:
    """Return a 64-bit key that depends on nothing but the facts' texts."""
    return int.from_bytes(blake2b("|".join(map(str, facts)).encode(), digest_size=8).digest(), "big")


def scramble(key: int, number: int) -> int:
    """Return 64 bits that appear random but depend on key and number only (the finalizer of SplitMix64)."""
    bits = (key + number * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


class Walk:
    """One random walk about a base price; ``volatility`` is a share of 1 a year."""

    def __init__(self, key: int, base_price: float, volatility: float) -> None:
        self._key = key
        self._base = base_price
        deviations = [
            volatility * sqrt((1 << level) * STEP.total_seconds() / SECONDS_PER_YEAR) / 2
            for level in range(BLOCK_LEVELS + 1)
        ]
        self._amplitudes = (0.0, *(sqrt(3) * each for each in deviations[1:]))
        self._bridges: dict[int, _Bridge] = {}

    def price(self, step: int) -> float:
        """Return the price at a step."""
        block, offset = divmod(step, BLOCK_STEPS)
        return self._base * exp(self._bridge(block).value(offset))

    def extremes(self, first: int, last: int) -> tuple[int, int]:
        """Return the steps of the lowest and the highest price from ``first`` to ``last``, both included."""
        lows, highs = [], []
        for block in range(first // BLOCK_STEPS, last // BLOCK_STEPS + 1):
            start = block * BLOCK_STEPS
            low, high = self._bridge(block).extremes(max(first - start, 0), min(last - start, BLOCK_STEPS - 1))
            lows.append((low.value, start + low.step))
            highs.append((high.value, start + high.step))
        return min(lows)[1], max(highs)[1]

    def _bridge(self, block: int) -> _Bridge:
        bridge = self._bridges.get(block)
        if bridge is None:
            while len(self._bridges) >= BRIDGES_CACHED:
                del self._bridges[next(iter(self._bridges))]
            bridge = self._bridges[block] = _Bridge(scramble(self._key, block), self._amplitudes)
        return bridge


class _Point(NamedTuple):
    value: float
    step: int


class _Stretch(NamedTuple):
    """An interval of 2**level steps from ``start``, the values at its ends, and its number in the tree of halves."""

    start: int
    level: int
    left: float
    right: float
    node: int


class _Bridge:
    """The walk over one block, from 0 at its first step to 0 at the first of the next."""

    def __init__(self, key: int, amplitudes: tuple[float, ...]) -> None:
        self._key = key
        self._amplitudes = amplitudes
        self._reach = tuple(sum(amplitudes[: level + 1]) for level in range(len(amplitudes)))
        # The path to the last point requested: the next is mostly its neighbour.
        self._path = [_Stretch(0, BLOCK_LEVELS, 0.0, 0.0, 1)]

    def value(self, step: int) -> float:
        here = self._descend(step, step)
        return here.left if step == here.start else here.right

    def extremes(self, first: int, last: int) -> tuple[_Point, _Point]:
        """The lowest and the highest point of a range of steps, both ends included."""
        ends = (_Point(self.value(first), first), _Point(self.value(last), last))
        stretch = self._descend(first, last)
        low = self._highest(stretch, first, last, max(_Point(-each.value, each.step) for each in ends), -1)
        high = self._highest(stretch, first, last, max(ends), 1)
        return _Point(-low.value, low.step), high

    def _descend(self, first: int, last: int) -> _Stretch:
        """Descend to the smallest stretch that holds both steps; a single step is then one of its ends."""
        path = self._path
        while not (path[-1].start <= first and last <= path[-1].start + (1 << path[-1].level)):
            path.pop()
        here = path[-1]
        while here.level:
            start, level, left, right, node = here
            if first == last and first in (start, start + (1 << level)):
                break
            half = level - 1
            middle = start + (1 << half)
            if first < middle < last:
                break
            value = (left + right) / 2 + self._amplitudes[level] * self._uniform(node)
            if last <= middle:
                here = _Stretch(start, half, left, value, 2 * node)
            else:
                here = _Stretch(middle, half, value, right, 2 * node + 1)
            path.append(here)
        return here

    def _highest(self, stretch: _Stretch, first: int, last: int, found: _Point, sign: int) -> _Point:
        """The highest of the steps strictly within a stretch and in range, or what was found before.

        With ``sign`` -1 the bridge is turned upside down. A half is only searched if it can reach higher.
        """
        best, best_step = found
        reach, amplitudes, uniform = self._reach, self._amplitudes, self._uniform
        start, level, left, right, node = stretch
        todo = [(start, level, sign * left, sign * right, node)] if level else []
        while todo:
            start, level, left, right, node = todo.pop()
            if (left if left > right else right) + reach[level] <= best:
                continue
            value = (left + right) / 2 + sign * amplitudes[level] * uniform(node)
            level -= 1
            middle = start + (1 << level)
            if value > best and first <= middle <= last:
                best, best_step = value, middle
            if not level:
                continue
            # Only a half that can reach higher and has steps in range is kept. The one that starts higher comes off
            # the stack first: a good find early spares the other's halves.
            worth = best - reach[level]
            before = (left > worth or value > worth) and start < last and first < middle
            after = (right > worth or value > worth) and middle < last and first < middle + (1 << level)
            if after and left > right:
                todo.append((middle, level, value, right, 2 * node + 1))
            if before:
                todo.append((start, level, left, value, 2 * node))
            if after and left <= right:
                todo.append((middle, level, value, right, 2 * node + 1))
        return _Point(best, best_step)

    def _uniform(self, node: int) -> float:
        """``scramble`` of a node as a number in [-1, 1). Written out, as nearly all time is spent here."""
        bits = (self._key + node * 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
        return (bits ^ (bits >> 31)) * 2.0**-63 - 1
