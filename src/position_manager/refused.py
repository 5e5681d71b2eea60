"""The error that rejects a person's request."""

from __future__ import annotations


class RefusedError(Exception):
    """A person's request is refused; the text states why, and what to do."""
