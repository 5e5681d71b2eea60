"""What the modules for AWS share: boto3, and the error where it is missing."""

from __future__ import annotations

import traceback
from typing import Any

try:
    import boto3  # type: ignore[import-untyped]  # it carries no types
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # likewise
except ImportError:
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    IMPORT_ERROR = None

__all__ = ["BotoCoreError", "ClientError", "boto3", "require_boto3"]


def require_boto3(module: Any) -> None:
    """Fail the module's task if the interpreter has no boto3."""
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg="boto3 is missing. Run this task on the controller, with the project's own Python (make setup).",
            exception=IMPORT_ERROR,
        )
