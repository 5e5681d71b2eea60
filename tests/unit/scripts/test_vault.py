"""scripts/vault at a terminal of its own: what is typed is not shown, and what is written is encrypted."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pexpect
import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret
from ansible.template import is_trusted_as_template

SCRIPT = Path(__file__).parents[3] / "scripts/vault"
USER, PASSWORD, SCREEN, VAULT = "ada-lovelace-1", "p{{ss: 'wo{#rd' #1\\", "screen77", "correct horse battery"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "vault.yml"


def terminal(file: Path) -> pexpect.spawn[str]:
    return pexpect.spawn(sys.executable, [str(SCRIPT), str(file)], encoding="utf-8", timeout=30)


def test_what_is_asked_for_is_encrypted_and_never_shown(file: Path) -> None:
    at = terminal(file)
    for prompt, answer in (
        ("User name at IBKR", USER),
        ("Its password", "päss"),
        ("printable ASCII.*Its password", PASSWORD),
        ("Once more", PASSWORD + "x"),
        ("not the same.*Its password", PASSWORD),
        ("Once more", PASSWORD),
        ("VNC", "short"),
        ("6 to 8.*VNC", SCREEN),
        ("Once more", SCREEN),
        ("Discord", ""),
        ("vault itself", VAULT[:5]),
        ("Once more", VAULT[:5]),
        ("must have 12.*vault itself", VAULT),
        ("Once more", VAULT),
    ):
        at.expect(prompt)
        at.expect(": ")
        assert not [secret for secret in (USER, PASSWORD, SCREEN, VAULT) if secret in at.before + at.after]
        at.sendline(answer)
    at.expect("encrypted")
    shown = at.before + at.after + at.read()
    assert not [secret for secret in (USER, PASSWORD, SCREEN, VAULT) if secret in shown]
    at.wait()
    assert at.exitstatus == 0

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().startswith(b"$ANSIBLE_VAULT;1.1;AES256")
    loader = DataLoader()
    loader.set_vault_secrets([("default", VaultSecret(VAULT.encode()))])
    values = loader.load_from_file(str(file), trusted_as_template=True)
    assert values == {"ib_gateway_userid": USER, "ib_gateway_password": PASSWORD, "ib_gateway_vnc_password": SCREEN}
    assert not [name for name, value in values.items() if is_trusted_as_template(value)]
    assert [path.name for path in file.parent.iterdir()] == ["vault.yml"]


def test_a_file_that_is_there_stays(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("mine")
    at = terminal(file)
    at.expect("is there already, and was left as it is")
    at.wait()
    assert at.exitstatus == 1
    assert file.read_text() == "mine"


def test_who_gives_up_leaves_nothing(file: Path) -> None:
    at = terminal(file)
    at.expect("User name at IBKR")
    at.expect(": ")
    at.sendintr()
    at.expect("Nothing was written")
    at.wait()
    assert not file.parent.exists()
