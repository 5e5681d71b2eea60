"""A whole run of the backup against moto's S3, and the backup read back from there with the secret key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.aws_endpoint import AwsEndpoint
from tests.unit.host_backup import hosts

from host_backup import creating, encryption
from host_backup.creating import Actions

KEY = "ib-gateway/ib-gateway-prod-gateway/sandbox-20261130T081500Z.age"
PLACE = {"bucket": "my-backups", "prefix": "ib-gateway/ib-gateway-prod-gateway", "region": "us-east-1"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsEndpoint]:
    with AwsEndpoint() as endpoint:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in endpoint.environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        yield endpoint


def run(root: Path, identity: Path) -> creating.Outcome:
    config = hosts.configure(root, encryption.recipient_of(identity, create=True), s3=PLACE)
    return creating.run(config, root / "var/lib/host-backup", Actions(lambda: hosts.NOW, lambda _: True), root)


def examine(address: str, identity: Path) -> tuple[int, dict[str, Any], str]:
    """The command that restore.yml runs on the controller."""
    command = [sys.executable, "-m", "host_backup", "examine", address, "--identity-file", str(identity)]
    done = subprocess.run(
        command, input="{}", capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "src"}
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_backup_goes_to_s3_and_comes_back(endpoint: AwsEndpoint, tmp_path: Path) -> None:
    client = endpoint.client("s3")
    client.create_bucket(Bucket="my-backups")
    root, identity = hosts.build(tmp_path / "host"), tmp_path / "identity.txt"
    endpoint.change(calls=[])
    done = run(root, identity)
    assert done.record.fault == ""
    assert done.record.good is not None
    assert done.record.good.stored == (f"s3://my-backups/{KEY}",)
    assert set(endpoint.ask()["calls"]) == {"s3:PutObject"}, "the role of the host allows nothing else"
    stored = client.get_object(Bucket="my-backups", Key=KEY)["Body"].read()
    assert stored == Path(done.record.good.file).read_bytes()

    code, found, error = examine(f"s3://my-backups/{KEY}", identity)
    assert (code, error) == (0, "")
    assert found["id"] == "sandbox-20261130T081500Z"
    assert found["problems"] == []


def test_a_bucket_that_is_missing_fails_the_run_and_the_local_backup_stays(
    endpoint: AwsEndpoint, tmp_path: Path
) -> None:
    root, identity = hosts.build(tmp_path / "host"), tmp_path / "identity.txt"
    done = run(root, identity)
    assert "could not be stored in s3://my-backups" in done.record.fault
    assert "NoSuchBucket" in done.record.fault
    assert done.record.good is None
    assert [path.name for path in (root / "var/lib/host-backup/backups").iterdir()] == ["sandbox-20261130T081500Z.age"]

    code, _, error = examine(f"s3://my-backups/{KEY}", identity)
    assert code == 1
    assert f"s3://my-backups/{KEY} could not be read" in error
