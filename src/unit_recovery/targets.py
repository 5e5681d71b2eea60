"""Where a failure is reported: the addresses of the unit itself, or of every unit of this project on the host."""

from __future__ import annotations

from pathlib import Path

from unit_recovery.causes import credentials

ADDRESSES = ("notify_urls", "discord_url")
"""The credentials that hold addresses."""

PATTERNS = ("etc/ib-gateway/*/secrets/notify_urls", "etc/position-manager/secrets/*/discord_url")


def address_files(unit_text: str, root: Path = Path("/")) -> list[Path]:
    """The files with addresses, each with at least one. A unit whose own file is missing or empty, or that has none, is
    reported to all addresses of the host."""
    own = [root / path.lstrip("/") for name, path in credentials(unit_text).items() if name in ADDRESSES]
    return _filled(own) or _filled([path for pattern in PATTERNS for path in sorted(root.glob(pattern))])


def programs(releases: Path) -> list[Path]:
    """Pythons of releases that can send, the present one first: a damaged release must not prevent its own report."""
    named = [releases / name / "bin/python" for name in ("current", "previous")]
    others = sorted(releases.glob("releases/*/bin/python"), key=lambda path: path.parts, reverse=True)
    return [path for path in (*named, *others) if path.exists()]


def _filled(files: list[Path]) -> list[Path]:
    return [path for path in files if path.is_file() and path.stat().st_size > 0]
