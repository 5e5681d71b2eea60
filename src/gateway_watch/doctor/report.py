"""The doctor's result on one screen and as JSON."""

from __future__ import annotations

from datetime import datetime
from textwrap import wrap
from typing import Any

from gateway_watch.doctor.checks import Check, Verdict, first_failure

WIDTH = 100
MARK = 9
LABEL = 15
_MARKS = {
    Verdict.OK: "ok",
    Verdict.WARNING: "WARNING",
    Verdict.FAILED: "FAILED",
    Verdict.UNKNOWN: "?",
    Verdict.SKIPPED: "-",
}


def _wrap(text: str, width: int, max_lines: int | None = None) -> list[str]:
    # Names such as live-restore and paths are never broken.
    return wrap(text, width, max_lines=max_lines, placeholder=" …", break_on_hyphens=False)


def render(name: str, at: datetime, checks: tuple[Check, ...]) -> str:
    """Plain text: one line per check (two for a failed one), and the first failure with its remedy at the end."""
    failed = sum(check.verdict is Verdict.FAILED for check in checks)
    warnings = sum(check.verdict is Verdict.WARNING for check in checks)
    head = f"{name}: {len(checks)} checks, {failed} failed, {warnings} warning{'' if warnings == 1 else 's'}"
    lines = [f"{head:<{WIDTH - 23}}{at:%Y-%m-%d %H:%M:%S} UTC"]
    for check in checks:
        most = 3 if check.verdict is Verdict.FAILED else 2
        text = _wrap(check.found, WIDTH - MARK - LABEL, most) or [""]
        lines.append(f"{_MARKS[check.verdict]:<{MARK}}{check.title:<{LABEL}}{text[0]}")
        lines += [f"{'':<{MARK + LABEL}}{line}" for line in text[1:]]
    for check in checks:
        if check.verdict is Verdict.WARNING and check.remedy:
            lines += ["", *_wrap(f"{check.title}: {check.remedy}", WIDTH)]
    lines += ["", *_wrap(conclusion(checks), WIDTH)]
    return "\n".join(lines)


def conclusion(checks: tuple[Check, ...]) -> str:
    """The first failure and its remedy, in one paragraph."""
    first = first_failure(checks)
    if first is None:
        return "No check failed."
    remedy = f" {first.remedy}" if first.remedy else ""
    return f"First failure: {first.title}: {first.found.rstrip('.')}.{remedy}"


def to_json(name: str, at: datetime, checks: tuple[Check, ...]) -> dict[str, Any]:
    first = first_failure(checks)
    return {
        "name": name,
        "at": at.isoformat(),
        "ok": first is None,
        "first_failure": first.id if first else None,
        "conclusion": conclusion(checks),
        "checks": [
            {"id": check.id, "verdict": check.verdict.value, "found": check.found, "remedy": check.remedy}
            for check in checks
        ],
        "screen": render(name, at, checks),
    }
