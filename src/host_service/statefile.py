"""Small files of state that are whole at every moment, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `content` in one step, readable by its owner only unless `mode` differs. Raises
    OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    # The new name must outlast a loss of power too.
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return once the names in a directory are on the disk. Raises OSError."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_json(path: Path, document: Mapping[str, Any], mode: int = 0o600) -> None:
    """Replace `path` by `document` as JSON, like `write_bytes`."""
    write_bytes(path, (json.dumps(document, indent=2) + "\n").encode(), mode)
