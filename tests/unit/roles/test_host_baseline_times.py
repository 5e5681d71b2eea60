"""Times of the week that a change to summer time skips, which a systemd timer would pass over."""

from __future__ import annotations

from datetime import date

import pytest
from ansible.errors import AnsibleFilterError
from tests.plugins import load

FIRST = date(2026, 11, 29)


times = load("roles/host_baseline/filter_plugins/host_baseline_times.py")


@pytest.mark.parametrize(
    ("text", "zone", "skipped"),
    [
        ("Sun 02:00", "America/New_York", True),
        ("Sun 02:59", "America/New_York", True),
        ("Sun 01:59", "America/New_York", False),
        ("Sun 03:00", "America/New_York", False),
        # What comes twice in autumn exists.
        ("Sun 01:30", "America/New_York", False),
        ("Sat 02:30", "America/New_York", False),
        ("Sun 01:30", "Europe/London", True),
        ("Sun 02:30", "UTC", False),
        ("Sun 00:30", "America/Santiago", True),
    ],
)
def test_a_time_that_some_week_does_not_have_is_found(text: str, zone: str, skipped: bool) -> None:
    assert times.skipped_times(["Sat 09:30", text], zone, FIRST) == ([text] if skipped else [])


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="America/Gotham"):
        times.skipped_times(["Sat 09:30"], "America/Gotham")
