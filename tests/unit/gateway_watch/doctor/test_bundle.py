"""A bundle holds no secret."""

from __future__ import annotations

import json
import os
import resource
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT

from gateway_watch.doctor import bundle, command
from gateway_watch.instance import Instance, parse

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    secrets, state = tmp_path / "secrets", tmp_path / "state"
    secrets.mkdir()
    state.mkdir()
    (secrets / "login.env").write_text("TWS_USERID=edmund77\n", encoding="utf-8")
    (secrets / "tws_password").write_text("Tr0ub4dor&3", encoding="utf-8")
    (secrets / "notify_urls").write_text("tgram://123456:abcdef/789\n", encoding="utf-8")
    (state / "breaker.json").write_text('{"text": "edmund77 refused"}', encoding="utf-8")
    (secrets / "totp_secret").write_text("gezd gnbv gy3t qojq\n", encoding="utf-8")
    (state / "second-factor.json").write_text('{"last_step": 58000000, "typed": []}', encoding="utf-8")
    (tmp_path / "instance.json").write_text(json.dumps(DOCUMENT), encoding="utf-8")
    return parse({**DOCUMENT, "secrets_dir": str(secrets), "state_dir": str(state)}, tmp_path / "instance.json")


def test_every_text_is_masked_and_the_archive_is_private(instance: Instance, tmp_path: Path) -> None:
    path = tmp_path / "ib-gateway-20261123T120000Z.tar.gz"
    log = "user edmund77, password Tr0ub4dor&3, account DU1234567 and U7654321, post to tgram://123456:abcdef/789"
    log += ", gezd gnbv gy3t qojq"
    mask = bundle.masker(bundle.secrets_of(instance))
    bundle.write(path, bundle.state_texts(instance) | {"log": log}, mask, AT)
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        texts = {}
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            texts[member.name.partition("/")[2]] = content.read().decode()
    assert set(texts) == {"state/instance.json", "state/breaker.json", "state/second-factor.json", "log"}
    for secret in ("edmund77", "Tr0ub4dor", "DU1234567", "U7654321", "abcdef", "gezd"):
        assert not any(secret in text for text in texts.values()), secret
    assert "DU*****67" in texts["log"]


def test_words_that_contain_a_short_secret_stay() -> None:
    assert bundle.masker(["ann"])("ann cannot log in") == "*** cannot log in"


def test_addresses_of_this_host_stay() -> None:
    assert bundle.masker([])("http://127.0.0.1:9100/ https://hooks.example.org/T0/B1") == (
        "http://127.0.0.1:9100/ https://***"
    )


def test_the_inspection_has_the_names_of_the_environment_only() -> None:
    document = json.dumps([{"Config": {"Env": ["TWS_USERID=edmund77", "TZ=America/New_York"]}, "State": {}}])
    assert json.loads(bundle.inspection(document))[0]["Config"]["Env"] == ["TWS_USERID", "TZ"]


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        bundle.write(path, {}, str, AT)
    assert path.read_bytes() == b"mine"


def test_a_bundle_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            bundle.write(path, {"log": os.urandom(1 << 20).hex()}, str, AT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    assert not path.exists()


@pytest.mark.parametrize("as_json", [True, False])
def test_the_checks_are_shown_even_if_no_bundle_can_be_written(tmp_path: Path, as_json: bool) -> None:
    shown: list[str] = []
    missing = tmp_path / "missing"
    assert not command.run("ib-gateway", tmp_path, shown.append, as_json=as_json, reach_out=False, directory=missing)
    (text,) = shown
    if as_json:
        document = json.loads(text)
        assert document["checks"]
        assert document["bundle"] is None
        text = document["bundle_failure"]
    assert f"The bundle {missing}/ib-gateway-" in text
    assert "was not written: No such file or directory." in text
