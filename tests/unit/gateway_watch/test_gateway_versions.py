"""Until when IB lets a version of the gateway log in, on given days."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
import yaml

from gateway_watch.gateway_versions import NOTICE, known, parse, support, version_of

OLD = "ghcr.io/gnzsnz/ib-gateway:10.45.1j"
END = date(2026, 12, 15)
DEFAULTS = Path(__file__).parents[3] / "roles/ib_gateway/defaults/main.yml"
TWO_CUTOFFS = """
checked = 2027-01-01
[[cutoff]]
minimum = "10.50.1"
desupported_on = 2026-12-15
sources = ["a", "b"]
[[cutoff]]
minimum = "10.60.1"
desupported_on = 2027-03-01
sources = ["a", "b"]
[[version]]
version = "10.61.1a"
channel = "stable"
source = "a"
digest = "sha256:aa"
"""


@pytest.mark.parametrize(
    ("today", "days"),
    [(END - NOTICE, 45), (date(2026, 11, 29), 16), (END - timedelta(days=1), 1), (END, 0), (date(2027, 6, 1), -168)],
)
def test_a_version_that_ends_is_named_with_its_day_and_what_to_use(today: date, days: int) -> None:
    found = support(OLD, today)
    assert found is not None
    assert (found.version, found.desupported_on, found.days_left, found.over) == ("10.45.1j", END, days, days <= 0)
    assert "2026-12-15" in found.text
    assert "10.50.1" in found.remedy
    assert "ib_gateway_image" in found.remedy


def test_nothing_is_reported_before_the_notice() -> None:
    assert timedelta(days=45) == NOTICE
    assert support(OLD, END - NOTICE - timedelta(days=1)) is None


@pytest.mark.parametrize(
    ("image", "version"),
    [
        (OLD, "10.45.1j"),
        ("ghcr.io/gnzsnz/ib-gateway:10.45", "10.45"),
        (f"{OLD}@sha256:{'0' * 64}", "10.45.1j"),
        ("localhost:5000/ib-gateway:10.37.1n", "10.37.1n"),
        (f"x/y@{known().versions[-1].digest}", known().versions[-1].version),
        ("ib-gateway@sha256:12", None),
        ("gateway-simulator:0.1.0-04952903b0bb", None),
        ("localhost:5000/ib-gateway", None),
        ("ib-gateway:my-build", None),
    ],
)
def test_the_version_of_an_image(image: str, version: str | None) -> None:
    assert version_of(image, known()) == version
    # Below 10.50.1 all end; what shows no version cannot be judged.
    ends = version is not None and not version.startswith("10.5")
    assert (support(image, END) is not None) is ends


@pytest.mark.parametrize(
    ("tag", "ends"),
    [("10.49.1e", True), ("10.50.1", False), ("10.50", False), ("10.50.1f", False), ("10.51.1b", False)],
)
def test_the_minimum_itself_goes_on(tag: str, ends: bool) -> None:
    assert (support(f"ib-gateway:{tag}", END) is not None) is ends


def test_of_several_ends_the_first_counts_and_the_remedy_outlasts_all() -> None:
    versions = parse(TWO_CUTOFFS)
    found = support(OLD, date(2026, 12, 1), versions)
    assert found is not None
    assert (found.desupported_on, found.minimum) == (END, "10.60.1")
    assert "ghcr.io/gnzsnz/ib-gateway:10.61.1a@sha256:aa" in found.remedy
    later = support("ib-gateway:10.50.1f", date(2027, 2, 1), versions)
    assert later is not None
    assert later.desupported_on == date(2027, 3, 1)


def test_each_entry_of_the_data_has_a_source_and_what_ends_has_two() -> None:
    data = known()
    assert data.versions
    assert all(entry.source for entry in data.versions)
    assert all(len(cutoff.sources) >= 2 for cutoff in data.cutoffs)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", entry.digest) for entry in data.versions if entry.digest)


def test_the_default_image_is_in_the_data_with_its_digest_and_does_not_end() -> None:
    image = yaml.safe_load(DEFAULTS.read_text())["ib_gateway_image"]
    (entry,) = [entry for entry in known().versions if image.endswith(f":{entry.version}@{entry.digest}")]
    assert entry.channel.startswith("stable")
    assert support(image, END + timedelta(days=365)) is None
