"""The audit as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.host_audit.programs import FakeHost

from host_audit import cli
from host_audit.host import Host, UnreadableError
from host_audit.point import Point, Verdict, must

BEFORE = must("before", "Before", "anything", "None.")
AFTER = must("after", "After", "anything", "None.")


def _interrupted(host: Host) -> Iterator[Point]:
    yield BEFORE.passed("fine")
    raise UnreadableError("docker: no such container: gone")


def _other(host: Host) -> Iterator[Point]:
    yield AFTER.passed("fine")


def test_what_disappears_during_the_audit_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "SUBJECTS", (_interrupted, _other))
    before, interrupted, after = cli.audit(FakeHost(tmp_path))
    assert (before.id, after.id) == ("before", "after")
    assert interrupted.verdict is Verdict.UNKNOWN
    assert interrupted.is_failed_must
    assert "no such container" in interrupted.found
    assert interrupted in cli.audit(FakeHost(tmp_path), "live-readiness")
