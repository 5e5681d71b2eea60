"""The generated parts of the documentation match the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_generated_parts_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


BASES = (
    *("", "src/gateway_watch", "src/ib_connection", "src/position_manager", "simulator/src/gateway_simulator"),
    *("roles/ib_gateway", "tests", "tests/unit"),
)


def test_every_path_in_the_guide_for_contributors_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text)) | set(re.findall(r"pytest (tests\S+)", text))
    assert len(paths) > 20
    missing = {path for path in paths if not any((ROOT / base / path).exists() for base in BASES)}
    assert missing == set()


def test_each_release_has_its_date_and_the_newest_is_the_version_of_the_package() -> None:
    """Below what is not released yet; the later one comes first."""
    titles = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert titles[0] == "Unreleased"
    releases = [title.split(" - ") for title in titles[1:]]
    assert releases[0][0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    dates = [date.fromisoformat(day) for _, day in releases]
    assert dates == sorted(dates, reverse=True)
