"""What a process uses, from its own directory in /proc only: a unit with `ProcSubset=pid` sees nothing else of it, and
the collector of `prometheus_client`, which reads /proc/stat, is silent there."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from host_service.metric_families import Kind, MetricSpec, Samples

SPECS = (
    MetricSpec("process_resident_memory_bytes", Kind.GAUGE, "Resident memory size in bytes."),
    MetricSpec("process_virtual_memory_bytes", Kind.GAUGE, "Virtual memory size in bytes."),
    MetricSpec("process_cpu_seconds_total", Kind.COUNTER, "Total user and system CPU time spent in seconds."),
    MetricSpec("process_start_time_seconds", Kind.GAUGE, "Start time of the process since the Unix epoch in seconds."),
    MetricSpec("process_open_fds", Kind.GAUGE, "Number of open file descriptors."),
    MetricSpec("process_max_fds", Kind.GAUGE, "Maximum number of open file descriptors."),
)


def add_process(samples: Samples, directory: Path = Path("/proc/self")) -> None:
    """The samples of this process. Raises OSError."""
    # Behind the name of the program, which may hold anything.
    fields = (directory / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    samples.set("process_resident_memory_bytes", float(fields[21]) * resource.getpagesize())
    samples.set("process_virtual_memory_bytes", float(fields[20]))
    samples.set("process_cpu_seconds_total", (int(fields[11]) + int(fields[12])) / ticks)
    samples.set("process_start_time_seconds", round(booted + int(fields[19]) / ticks, 2))
    samples.set("process_open_fds", float(sum(1 for _ in (directory / "fd").iterdir())))
    samples.set("process_max_fds", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
