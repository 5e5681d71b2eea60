"""The failure of a backup or a restore."""

from __future__ import annotations


class BackupError(Exception):
    """One sentence of what is wrong and where, and one of what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(f"{text} {remedy}")
        self.text = text
        self.remedy = remedy
