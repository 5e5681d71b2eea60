"""Backups in S3. A host's role may only add objects below its prefix: it can neither read nor delete a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from host_backup.errors import BackupError
from host_backup.settings import S3

_SECONDS = 60


def upload(file: Path, place: S3) -> str:
    """Store a backup under its name; returns its address. Raises BackupError."""
    address = f"s3://{place.bucket}/{place.key(file.name)}"
    with file.open("rb") as content:
        _call(
            place.region,
            f"{file.name} could not be stored in {address}",
            lambda client: client.put_object(
                Bucket=place.bucket, Key=place.key(file.name), Body=content, ChecksumAlgorithm="SHA256"
            ),
        )
    return address


def download(address: str, target: Path, region: str | None = None) -> None:
    """Fetch a backup, by s3://BUCKET/KEY. Raises BackupError."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket or not key:
        raise BackupError(f"{address} is no address in S3.", "Write s3://BUCKET/KEY.")
    _call(region, f"{address} could not be read", lambda client: client.download_file(bucket, key, str(target)))


def _call(region: str | None, failed: str, call: Any) -> None:
    # Needs 60 MB of memory, so only where S3 is used.
    import boto3  # type: ignore[import-untyped]  # it carries no types
    from botocore.config import Config  # type: ignore[import-untyped]  # likewise
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # likewise

    try:
        client = boto3.client(
            "s3",
            region_name=region or None,
            config=Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=_SECONDS),
        )
        call(client)
    except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
        text = " ".join(str(error).split())
        raise BackupError(
            f"{failed}: {text}.",
            "Check the bucket's name and region, the network, and that the role's policy allows it.",
        ) from error
