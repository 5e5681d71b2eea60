"""The error that answers a person's wish."""

from __future__ import annotations


class RefusedError(Exception):
    """What a person asked for is not done; the text says why, and what to do."""
