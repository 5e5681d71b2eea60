"""Metrics as Prometheus reads them: over HTTP, and by the strict parser of OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import requests
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics import parser as strict
from prometheus_client.registry import Collector

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Labels = frozenset[tuple[str, str]]
Series = dict[tuple[str, Labels], float]

# Neither has types.
_parse: Callable[[str], Iterable[Metric]] = strict.text_string_to_metric_families
_encode: Callable[[CollectorRegistry], bytes] = exposition.generate_latest


class _Collected(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def read(families: Iterable[Metric]) -> Series:
    """The samples by name and labels."""
    found: Series = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is there twice: Prometheus would refuse all of it"
            found[key] = sample.value
    return found


def parsed(text: str) -> Series:
    """OpenMetrics."""
    return read(_parse(text))


def exported(families: list[Metric]) -> Series:
    """What a scrape of these families would read."""
    registry = CollectorRegistry()
    registry.register(_Collected(families))
    return parsed(_encode(registry).decode())


def scraped(port: int | None) -> Series:
    """The samples of a running service."""
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": OPENMETRICS}, timeout=10)
    assert answer.status_code == 200, answer.text
    return parsed(answer.text)


def value(found: Series, name: str, **labels: str) -> float | None:
    """None: there is no such sample."""
    return found.get((name, frozenset(labels.items())))


def labelled(found: Series, name: str, label: str) -> dict[str, float]:
    """The values of a metric by one of its labels."""
    return {dict(labels)[label]: number for (each, labels), number in found.items() if each == name}


def chosen(found: Series, name: str, label: str) -> list[str]:
    """The values of a label whose sample is 1."""
    return [text for text, number in labelled(found, name, label).items() if number == 1]
