"""The audit as a table, JSON and JUnit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from textwrap import wrap
from xml.etree import ElementTree as Xml

from host_audit.point import Level, Point, Verdict

WIDTH = 110
MARKS = {Verdict.PASSED: "ok", Verdict.FAILED: "FAILED", Verdict.SKIPPED: "-", Verdict.UNKNOWN: "UNKNOWN"}


def table(points: Sequence[Point]) -> str:
    """One line per point; below a failed one what is expected and the remedy. A summary at the end."""
    lines = []
    for point in points:
        mark = "warning" if point.verdict is Verdict.FAILED and point.level is Level.SHOULD else MARKS[point.verdict]
        subject = f" [{point.subject}]" if point.subject else ""
        lines += _wrap(f"{mark:<8} {point.title}{subject}: {point.found}", " " * 9)
        if point.verdict in (Verdict.FAILED, Verdict.UNKNOWN):
            lines += _wrap(f"         expected: {point.expected}", " " * 19)
            lines += _wrap(f"         remedy: {point.remedy}", " " * 17)
    return "\n".join([*lines, "", summary(points)])


def summary(points: Sequence[Point]) -> str:
    failed = [point for point in points if point.is_failed_must]
    warnings = [p for p in points if p.level is Level.SHOULD and p.verdict in (Verdict.FAILED, Verdict.UNKNOWN)]
    names = ", ".join(dict.fromkeys(point.id for point in failed))
    return (
        f"{len(points)} points: {len(failed)} failed{f' ({names})' if names else ''}, {len(warnings)} warnings, "
        f"{sum(point.verdict is Verdict.SKIPPED for point in points)} not applicable"
    )


def as_json(points: Sequence[Point], host: str) -> str:
    return json.dumps(
        {
            "ok": not any(point.is_failed_must for point in points),
            "summary": summary(points),
            "points": [
                {
                    "id": point.id,
                    "subject": point.subject,
                    "title": point.title,
                    "level": point.level.value,
                    "verdict": point.verdict.value,
                    "expected": point.expected,
                    "found": point.found,
                    "remedy": point.remedy,
                    "tags": sorted(point.tags),
                }
                for point in points
            ],
            "table": table(points),
            "junit": as_junit(points, host),
        },
        indent=2,
    )


def as_junit(points: Sequence[Point], host: str) -> str:
    """A test suite: a failed must is a failure, a point that does not apply or only should hold is skipped."""
    failures = sum(point.is_failed_must for point in points)
    suite = Xml.Element("testsuite", name=f"audit {host}", tests=str(len(points)), failures=str(failures))
    for point in points:
        name = f"{point.id} {point.subject}".strip()
        case = Xml.SubElement(suite, "testcase", classname=f"audit.{point.level.value}", name=name)
        if point.is_failed_must:
            text = f"expected: {point.expected}\nremedy: {point.remedy}"
            Xml.SubElement(case, "failure", message=point.found).text = text
        elif point.verdict is not Verdict.PASSED:
            Xml.SubElement(case, "skipped", message=point.found)
    Xml.indent(suite)
    return Xml.tostring(suite, encoding="unicode", xml_declaration=True)


def _wrap(text: str, indent: str) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)
