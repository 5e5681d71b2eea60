"""Secrets by lookup from AWS, as docs/security.md describes: each variable alone, and a rejection comes early."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.aws_endpoint import AwsEndpoint

ROOT = Path(__file__).parents[2]
PASSWORD, SCREEN = "ib-gateway/prod/password", "/ib-gateway/prod/vnc-password"
LOOKUP = "{{{{ lookup('amazon.aws.{}', '{}', region='us-east-1') }}}}"
SETTINGS = {
    "ib_gateway_userid": "ada1815",
    "ib_gateway_password": LOOKUP.format("secretsmanager_secret", PASSWORD),
    "ib_gateway_vnc_password": LOOKUP.format("ssm_parameter", SCREEN),
}
PLAY = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Check the settings of the gateway
      ansible.builtin.include_role:
        name: ib_gateway
        tasks_from: preflight
    - name: Keep what came
      ansible.builtin.copy:
        content: "{{ ib_gateway_password }} {{ ib_gateway_vnc_password }}"
        dest: "{{ kept }}"
        mode: "0600"
      no_log: true
"""


def check(endpoint: AwsEndpoint, directory: Path) -> tuple[int, str]:
    """The settings checked with the two secrets from AWS: exit code and output, its lines joined."""
    play = directory / "play.yml"
    play.write_text(PLAY)
    done = subprocess.run(
        ["ansible-playbook", str(play), "-vv", "-e", json.dumps(SETTINGS | {"kept": str(directory / "kept")})],
        check=False,
        cwd=ROOT,
        env=endpoint.environment
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_each_secret_may_come_from_aws(tmp_path: Path) -> None:
    with AwsEndpoint() as endpoint:
        code, output = check(endpoint, tmp_path)
        assert code != 0
        assert PASSWORD in output

        endpoint.client("secretsmanager").create_secret(
            Name="ib-gateway/prod/password", SecretString="analytical-engine"
        )
        endpoint.client("ssm").put_parameter(
            Name="/ib-gateway/prod/vnc-password", Value="screen77", Type="SecureString"
        )
        code, output = check(endpoint, tmp_path)
        assert code == 0, output
        assert (tmp_path / "kept").read_text() == "analytical-engine screen77"
        assert "analytical-engine" not in output
        assert "screen77" not in output
