"""What `-e name=value` sets is text; each role must render it as it renders the value of the declared type."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
OPTIONS: dict[str, dict[str, Any]] = {
    name: option
    for role in ROLES
    for name, option in yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"][
        "main"
    ]["options"].items()
}
TYPED = {name: option for name, option in OPTIONS.items() if option["type"] in ("bool", "int", "list")}
SAMPLES: dict[str, Any] = {
    "ib_gateway_expected_accounts": ["DU1234567", "DU7654321"],
    "ib_gateway_notify_urls": ["discord://1/abc", "mailto://host.example?to=a@x.example,b@x.example"],
    "ib_gateway_extra_ports": ["127.0.0.1:9100:9100", "127.0.0.1:9101:9101"],
    "ib_gateway_removed_instances": ["old", "older"],
    "position_manager_expected_accounts": ["DU1234567"],
    "position_manager_removed_instances": ["position-manager-old"],
    "ec2_host_admin_cidrs": ["203.0.113.7/32", "198.51.100.0/24"],
    "ec2_host_names": ["one", "two"],
    "host_backup_recipients": ["age1one", "age1two"],
    "host_baseline_time_servers": ["192.0.2.1", "192.0.2.2"],
    "host_baseline_packages": ["acl"],
    "host_baseline_inbound_tcp_ports": [22, 2222],
    "ib_gateway_memory_mb": 4096,
}
CREDENTIALS = {
    "ib_gateway_userid": "the-user",
    "ib_gateway_password": "the-password",
    "ib_gateway_vnc_password": "vncpass1",
}

ROLE_FILES = [
    f"{ROOT}/roles/{role}/{part}/main.yml"
    for role in ROLES
    for part in ("defaults", "vars")
    if (ROOT / f"roles/{role}/{part}/main.yml").is_file()
]
# Everything that the roles write or derive from their settings, rendered as on a host, in one file.
RENDERED = """
{%- set rendered = namespace(files={}) -%}
{%- for file in __ib_gateway_resolved | ib_gateway_config_files -%}
{%- set source = role_dir ~ '/ib_gateway/templates/' ~ file.template -%}
{%- set _ = rendered.files.update({file.path: lookup('template', source, template_vars=file.vars)}) -%}
{%- endfor -%}
{%- for name in ['position-manager.service.j2', 'position-manager.yml.j2'] -%}
{%- set source = role_dir ~ '/position_manager/templates/' ~ name -%}
{%- for instance in __position_manager_resolved -%}
{%- set text = lookup('template', source, template_vars={'item': instance}) -%}
{%- set _ = rendered.files.update({instance.name ~ name: text}) -%}
{%- endfor -%}
{%- endfor -%}
{%- for name in ['docker_engine/templates/daemon.json.j2', 'host_baseline/templates/chrony.conf.j2',
                 'host_baseline/templates/host-firewall.nft.j2', 'ec2_host/templates/costs.txt.j2'] -%}
{%- set _ = rendered.files.update({name: lookup('template', role_dir ~ '/' ~ name)}) -%}
{%- endfor -%}
{{ {
  'files': rendered.files,
  'secrets': __ib_gateway_resolved_with_secrets | ib_gateway_secret_files,
  'derived': [__ec2_host_names, __ec2_host_plan_rule, __ec2_host_costs,
    __position_manager_gone, __host_baseline_all_packages | sort],
  'settings': dict(roles_with_settings | zip(query('role_settings', *roles_with_settings)))
} | to_json }}"""


# As the role's own task writes them.
WRITE_SECRETS = {
    "loop": "{{ __ib_gateway_resolved_with_secrets | ib_gateway_secret_files }}",
    "ansible.builtin.copy": {"dest": "{{ out }}/{{ item.path | basename }}", "content": "{{ item.content }}"},
}


def render(directory: Path, name: str, *arguments: str, tasks: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """How the roles handle settings that are given as arguments of ansible-playbook."""
    out = directory / f"{name}.json"
    (directory / "rendered.j2").write_text(RENDERED)
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": ROLE_FILES,
        "vars": {
            "ansible_managed": "test",
            "out": str(directory),
            "role_dir": f"{ROOT}/roles",
            "roles_with_settings": ROLES,
            "__ib_gateway_engine_version": "28.5.2",
            "__position_manager_systemd": "257",
            "__ec2_host_state": {"partition": "aws", "missing": [], "hosts": {}},
            **CREDENTIALS,
        },
        "tasks": [
            {"ansible.builtin.template": {"src": f"{directory}/rendered.j2", "dest": f"{out}", "mode": "0600"}},
            *tasks,
        ],
    }
    (directory / "play.yml").write_text(json.dumps([play]))
    done = subprocess.run(
        ["ansible-playbook", str(directory / "play.yml"), *arguments],
        check=False,
        cwd=ROOT,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FILTER_PLUGINS": ":".join(
                [f"{ROOT}/filter_plugins", *(f"{ROOT}/roles/{role}/filter_plugins" for role in ROLES)]
            ),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rendered: dict[str, Any] = json.loads(out.read_text())
    return rendered


def other_value(name: str, option: dict[str, Any]) -> Any:
    """A value that is not the default, in the declared type."""
    if name in SAMPLES:
        return SAMPLES[name]
    return not option["default"] if option["type"] == "bool" else option["default"] + 1


OTHER = {name: other_value(name, option) for name, option in TYPED.items()}
# Enabled, so that its settings reach its files; what false does has a test of its own.
OTHER["position_manager_enabled"] = True
FIXED = {"position_manager_mode": "sim"}


def as_text(value: Any, words: tuple[str, str]) -> str:
    if isinstance(value, bool):
        return words[value]
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return render(tmp_path_factory.mktemp("typed"), "typed", "-e", json.dumps(OTHER | FIXED))


@pytest.mark.parametrize("words", [("no", "yes"), ("False", "True"), ("0", "1")])
def test_text_is_rendered_as_the_declared_type(tmp_path: Path, typed: dict[str, Any], words: tuple[str, str]) -> None:
    pairs = [f"{name}={as_text(value, words)}" for name, value in (OTHER | FIXED).items()]
    text = render(tmp_path, "text", *(argument for pair in pairs for argument in ("-e", pair)))
    assert text == typed
    for name, value in OTHER.items():
        role = next(role for role in ROLES if name.startswith(f"{role}_"))
        found = text["settings"][role][name.removeprefix(f"{role}_")]
        assert (found, type(found)) == (value, type(value)), name


def test_the_values_of_the_issue(typed: dict[str, Any]) -> None:
    environment = typed["files"]["/etc/ib-gateway/ib-gateway/container.env"]
    assert "READ_ONLY_API=yes" in environment
    assert "RELOGIN_AFTER_TWOFA_TIMEOUT=no" in environment
    assert "--read-only" not in typed["files"]["/etc/systemd/system/ib-gateway.service"]


def test_a_secret_is_deployed_as_it_was_written(tmp_path: Path) -> None:
    secrets = "ib_gateway_password: !unsafe 'ab{#x#}c\\d{{ 1 }}'\nib_gateway_vnc_password: '01234567'\n"
    (tmp_path / "vault.yml").write_text(secrets)
    render(tmp_path, "secrets", "-e", f"@{tmp_path}/vault.yml", tasks=[WRITE_SECRETS])
    assert (tmp_path / "tws_password").read_text() == "ab{#x#}c\\\\d{{ 1 }}"
    assert (tmp_path / "vnc_password").read_text() == "01234567"


def test_settings_of_an_instance_and_of_whole_roles_are_converted_too(tmp_path: Path) -> None:
    own = {"ib-gateway": {"read_only_api": "yes", "start_timeout": "700", "expected_accounts": "DU1234567"}}
    disabled = ("-e", "position_manager_enabled=false")
    rendered = render(tmp_path, "own", "-e", f"ib_gateway_instances='{json.dumps(own)}'", *disabled)
    assert not [name for name in rendered["files"] if "position-manager" in name]
    assert "position-manager" in rendered["derived"][3]
    assert "READ_ONLY_API=yes" in rendered["files"]["/etc/ib-gateway/ib-gateway/container.env"]
    instance = json.loads(rendered["files"]["/etc/ib-gateway/ib-gateway/instance.json"])
    assert (instance["start_timeout"], instance["expected_accounts"]) == (700, ["DU1234567"])


def uses() -> Iterator[tuple[str, str]]:
    """Every place outside defaults and specs that names a setting which may be no text: file and line."""
    names = [name for name, option in OPTIONS.items() if option["type"] not in ("str", "path")]
    pattern = re.compile(rf"(?<![\w.])({'|'.join(names)})\b")
    for directory in ("roles", "playbooks"):
        for file in (ROOT / directory).rglob("*"):
            if file.suffix in (".yml", ".j2") and not {"defaults", "meta"} & set(file.parts):
                for line in file.read_text().splitlines():
                    # In prose a variable is named without being used.
                    expressions = re.findall(r"\{[{%].*?[}%]\}", line)
                    if re.match(r"\s*(- )?(when|that|loop|until|failed_when|changed_when): (?!.*\{\{)", line):
                        expressions.append(line)
                    if any(pattern.search(expression) for expression in expressions):
                        yield str(file.relative_to(ROOT)), line.strip()


def test_no_task_reads_a_setting_before_it_is_converted() -> None:
    assert list(uses()) == []
