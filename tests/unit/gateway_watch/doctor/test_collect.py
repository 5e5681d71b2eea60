"""Facts from the output of real programs and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_watch.clock_error import parse_tracking
from gateway_watch.doctor.collect import clock_of, memory_available

# chronyc -c tracking of chrony 4.3: "System time : 7.250000000 seconds slow of NTP time" is 7.25 in the fifth field.
TRACKING = (
    "C0A80101,192.168.1.1,3,1795968000.123456789,{offset},-0.000001,0.00002,-12.345,0.001,0.02,0.01,0.0005,64.2,{leap}"
)


@pytest.mark.parametrize(
    ("offset", "leap", "expected", "synchronised"),
    [
        ("7.250000000", "Normal", -7.25, True),
        ("-0.000012000", "Normal", 0.000012, True),
        ("0.000000000", "Not synchronised", None, False),
        ("7.250000000", "Not synchronised", -7.25, False),
    ],
)
def test_chrony_counts_a_slow_clock_positive(
    offset: str, leap: str, expected: float | None, synchronised: bool
) -> None:
    clock = clock_of(parse_tracking(TRACKING.format(offset=offset, leap=leap)))
    assert clock.offset == pytest.approx(expected)
    assert clock.synchronised is synchronised
    assert clock.source == "chrony"


@pytest.mark.parametrize("output", ["", "506 Cannot talk to daemon", "a,b,c,d,e,f"])
def test_an_unknown_answer_of_chrony_is_no_clock(output: str) -> None:
    clock = clock_of(parse_tracking(output))
    assert (clock.offset, clock.synchronised) == (None, None)
    assert "chronyc printed no tracking data" in clock.source


def test_the_available_memory_is_read_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:        2000000 kB\nMemAvailable:    1000 kB\n", encoding="ascii")
    assert memory_available(file) == 1_024_000
    assert memory_available(tmp_path / "missing") is None
