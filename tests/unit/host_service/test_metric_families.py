"""Samples are checked against the table of metrics, and their number is bounded."""

from __future__ import annotations

import math

import pytest
from tests import scraping

from host_service.metric_families import OTHER, Distribution, Kind, Label, MetricSpec, Samples

SPECS = (
    MetricSpec("app_info", Kind.INFO, "The release.", (Label("version"),)),
    MetricSpec("app_state", Kind.GAUGE, "1 for the state.", (Label("state", ("up", "down")),)),
    MetricSpec("app_done_total", Kind.COUNTER, "What was done.", (Label("kind", most=3),)),
    MetricSpec("app_wait_seconds", Kind.HISTOGRAM, "How long it waited."),
    MetricSpec("app_age_seconds", Kind.GAUGE, "How old it is."),
)


def exported(samples: Samples) -> dict[str, float]:
    return {
        "".join((name, *(f"[{value}]" for _, value in labels))): value
        for (name, labels), value in scraping.exported(list(samples.families())).items()
    }


def test_each_kind_is_exported_under_its_whole_name() -> None:
    samples = Samples(SPECS)
    samples.set("app_info", 1, version="1.2")
    samples.choose("app_state", "state", "up")
    samples.set("app_done_total", 3, kind="a")
    samples.observe("app_wait_seconds", Distribution.empty((0.5, 1)).observed(0.5).observed(0.7).observed(9))
    assert exported(samples) == {
        "app_info[1.2]": 1,
        "app_state[up]": 1,
        "app_state[down]": 0,
        "app_done_total[a]": 3,
        "app_wait_seconds_bucket[0.5]": 1,
        "app_wait_seconds_bucket[1.0]": 2,
        "app_wait_seconds_bucket[+Inf]": 3,
        "app_wait_seconds_count": 3,
        "app_wait_seconds_sum": pytest.approx(10.2),
    }


def test_the_text_format_of_prometheus_has_the_type_of_each() -> None:
    samples = Samples(SPECS)
    samples.set("app_info", 1, version="1.2")
    samples.set("app_done_total", 3, kind="a")
    text = scraping.plain(list(samples.families())).decode()
    assert '# TYPE app_info gauge\napp_info{version="1.2"} 1.0\n' in text
    assert '# TYPE app_done_total counter\napp_done_total{kind="a"} 3.0\n' in text


def test_what_is_not_known_has_no_sample() -> None:
    samples = Samples(SPECS)
    samples.set("app_age_seconds", None)
    samples.choose("app_state", "state", None)
    assert exported(samples) == {"app_state[up]": 0, "app_state[down]": 0}


def test_values_beyond_the_bound_of_a_label_are_added_up_as_another() -> None:
    samples = Samples(SPECS)
    for number in range(1000):
        samples.set("app_done_total", 1, kind=f"kind {number}")
    samples.set("app_done_total", 1, kind="kind 0")
    found = exported(samples)
    assert found == {
        "app_done_total[kind 0]": 2,
        "app_done_total[kind 1]": 1,
        "app_done_total[kind 2]": 1,
        f"app_done_total[{OTHER}]": 997,
    }


def test_a_value_that_the_table_does_not_list_is_another() -> None:
    samples = Samples(SPECS)
    samples.set("app_state", 1, state="sideways")
    assert exported(samples) == {f"app_state[{OTHER}]": 1}


def test_a_metric_or_label_that_the_table_does_not_list_is_an_error() -> None:
    samples = Samples(SPECS)
    with pytest.raises(KeyError):
        samples.set("app_unknown", 1)
    with pytest.raises(ValueError, match=r"has the labels \['kind'\], not \['account'\]"):
        samples.set("app_done_total", 1, account="DU1234567")
    with pytest.raises(ValueError, match="has the label state, not verdict"):
        samples.choose("app_state", "verdict", "up")


def test_a_distribution_counts_each_value_once() -> None:
    empty = Distribution.empty((1.0, 2.0))
    assert dict(empty.buckets()) == {"1.0": 0, "2.0": 0, "+Inf": 0}
    assert dict(empty.observed(1.0).observed(math.nextafter(1.0, 2)).observed(3).buckets()) == {
        "1.0": 1,
        "2.0": 2,
        "+Inf": 3,
    }
