"""Metrics as a table, and samples that are checked against it: nothing is exported that the table does not list.

The number of series is bounded: a label has a fixed set of values, or at most a given number; any further value counts
as `OTHER`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

OTHER = "other"
_LONGEST = 200


class Kind(StrEnum):
    """The type of a metric, in the words of OpenMetrics."""

    GAUGE = "gauge"
    COUNTER = "counter"
    INFO = "info"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Label:
    """``values``: all that it can have, besides `OTHER`. Empty for values that are not known in advance, of which there
    are at most ``most``; ``text`` describes those."""

    name: str
    values: tuple[str, ...] = ()
    most: int = 30
    text: str = ""


@dataclass(frozen=True)
class MetricSpec:
    """One metric. ``name`` is the whole name of its samples, with ``_total`` or ``_info`` (without ``_bucket``)."""

    name: str
    kind: Kind
    text: str
    labels: tuple[Label, ...] = ()

    @property
    def family(self) -> str:
        """The name without the suffix of its kind."""
        suffix = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(self.kind, "")
        return self.name.removesuffix(suffix)


@dataclass(frozen=True)
class Distribution:
    """Observations: how many were at most each of ``bounds`` (not cumulative, the last count is above all of them), and
    their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @staticmethod
    def empty(bounds: Sequence[float]) -> Distribution:
        return Distribution(tuple(bounds), (0,) * (len(bounds) + 1))

    def observed(self, value: float) -> Distribution:
        place = bisect_left(self.bounds, value)
        counts = tuple(count + (number == place) for number, count in enumerate(self.counts))
        return Distribution(self.bounds, counts, self.sum + value)

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Upper bound and cumulative count."""
        total = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            total += count
            yield ("+Inf" if bound == math.inf else str(float(bound))), float(total)


class Samples:
    """The samples of one scrape."""

    def __init__(self, specs: Iterable[MetricSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._values: dict[str, dict[tuple[str, ...], float | Distribution]] = {}

    def set(self, name: str, value: float | None, **labels: str) -> None:
        """A value; None is one that is not known, and has no sample. Values that share their labels are added up, since
        Prometheus refuses all samples of a scrape if two of them have the same name and labels."""
        if value is None:
            return
        found, place = self._place(name, labels)
        before = found.get(place, 0.0)
        found[place] = value + (before if isinstance(before, float) else 0.0)

    def observe(self, name: str, distribution: Distribution, **labels: str) -> None:
        """A histogram."""
        found, place = self._place(name, labels)
        found[place] = distribution

    def choose(self, name: str, label: str, chosen: str | None) -> None:
        """1 for one of the values of a label, 0 for all others; None for none of them."""
        (known,) = self._specs[name].labels
        if known.name != label:
            raise ValueError(f"{name} has the label {known.name}, not {label}")
        for value in known.values:
            self.set(name, float(value == chosen), **{label: value})

    def _place(
        self, name: str, labels: Mapping[str, str]
    ) -> tuple[dict[tuple[str, ...], float | Distribution], tuple[str, ...]]:
        spec = self._specs[name]
        if [label.name for label in spec.labels] != list(labels):
            raise ValueError(f"{name} has the labels {[label.name for label in spec.labels]}, not {list(labels)}")
        found = self._values.setdefault(name, {})
        place = tuple(_bounded(label, labels[label.name]) for label in spec.labels)
        for number, label in enumerate(spec.labels):
            known = {other[number] for other in found} - {OTHER}
            if not label.values and place[number] not in known and len(known) >= label.most:
                place = (*place[:number], OTHER, *place[number + 1 :])
        return found, place

    def families(self) -> Iterator[Metric]:
        """In the order of the table."""
        for spec in self._specs.values():
            if spec.name in self._values:
                yield _family(spec, self._values[spec.name])


def _bounded(label: Label, value: str) -> str:
    if label.values and value not in label.values:
        return OTHER
    return value[:_LONGEST]


def _family(spec: MetricSpec, values: Mapping[tuple[str, ...], float | Distribution]) -> Metric:
    names = [label.name for label in spec.labels]
    unit = next((unit for unit in ("seconds", "bytes") if spec.family.endswith(f"_{unit}")), "")
    if spec.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(spec.family, spec.text, labels=names, unit=unit)
        for place, value in values.items():
            if isinstance(value, Distribution):
                histogram.add_metric(place, list(value.buckets()), value.sum)
        return histogram
    if spec.kind is Kind.INFO:
        info = InfoMetricFamily(spec.family, spec.text)
        for place in values:
            info.add_metric([], dict(zip(names, place, strict=True)))
        return info
    family: GaugeMetricFamily | CounterMetricFamily
    if spec.kind is Kind.COUNTER:
        family = CounterMetricFamily(spec.family, spec.text, labels=names, unit=unit)
    else:
        family = GaugeMetricFamily(spec.family, spec.text, labels=names, unit=unit)
    for place, value in values.items():
        if isinstance(value, float | int):
            family.add_metric(place, float(value))
    return family
