"""What a process uses, from its own directory alone."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client.process_collector import ProcessCollector

from host_service.metric_families import Samples
from host_service.process_metrics import SPECS, add_process


def values(directory: Path = Path("/proc/self")) -> dict[str, float]:
    samples = Samples(SPECS)
    add_process(samples, directory)
    return {sample.name: sample.value for family in samples.families() for sample in family.samples}


def test_the_numbers_are_those_of_this_process() -> None:
    before = time.process_time()
    found = values()
    assert set(found) == {spec.name for spec in SPECS}
    resident = Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]
    assert abs(found["process_resident_memory_bytes"] / 1024 - int(resident)) < 4096
    assert before - 0.1 <= found["process_cpu_seconds_total"] <= time.process_time() + 0.1
    assert 0 <= time.time() - found["process_start_time_seconds"] < 24 * 3600
    assert 3 <= found["process_open_fds"] <= found["process_max_fds"]


def test_nothing_but_the_directory_of_the_process_is_read(tmp_path: Path) -> None:
    """As in a unit with ProcSubset=pid, where /proc/stat is missing."""
    # A name with blanks and brackets must not shift the fields.
    fields = ["(a) name) S", *("0" for _ in range(1, 11)), "200", "100", *("0" for _ in range(13, 19))]
    (tmp_path / "stat").write_text(f"1 {' '.join(fields)} 0 {10 * 4096} 5 0 0")
    (tmp_path / "fd").mkdir()
    (tmp_path / "fd" / "0").touch()
    found = values(tmp_path)
    assert found["process_virtual_memory_bytes"] == 10 * 4096
    assert found["process_resident_memory_bytes"] == 5 * 4096
    assert found["process_cpu_seconds_total"] == 3
    assert found["process_open_fds"] == 1


def test_the_collector_of_the_library_exports_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("/proc/self")
    assert list(ProcessCollector(proc=str(tmp_path), registry=None).collect()) == []
