"""Each point of the audit: passed on a host as a deploy leaves it, failed with its planted fault."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway_watch.instance_files import DOCUMENT
from tests.unit.host_audit.programs import FakeHost

from gateway_watch.instance import parse
from host_audit.point import Level, Point, Verdict
from host_audit.points import access, container, files, gateway, manager, network, units, upkeep

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
# ss 5.19 of iproute2, Debian 12.
SS = """\
tcp LISTEN 0 4096 127.0.0.1:4002 0.0.0.0:* users:(("docker-proxy",pid=511,fd=4))
tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=81,fd=3))
tcp LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=81,fd=4))
tcp LISTEN 0 4096 [::ffff:127.0.0.1]:9100 *:* users:(("python",pid=90,fd=4))
udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=60,fd=12))
"""
NFT = "table inet host_firewall {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n"
SSHD = """\
passwordauthentication no
kbdinteractiveauthentication no
permitrootlogin no
permitemptypasswords no
x11forwarding no
allowagentforwarding no
allowtcpforwarding local
"""
INFO = {"LiveRestoreEnabled": True, "ServerVersion": "28.5.2", "LoggingDriver": "local"}
INSPECTION: dict[str, Any] = {
    "Config": {"User": "1000:1000", "Env": ["TWS_USERID=edmund77"]},
    "HostConfig": {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges"],
        "Memory": 1610612736,
        "PidsLimit": 500,
        "ReadonlyRootfs": True,
        "PortBindings": {"4004/tcp": [{"HostIp": "127.0.0.1", "HostPort": "4002"}]},
    },
    "Mounts": [{"Source": "/var/lib/ib-gateway/ib-gateway/settings"}],
}
SHOW = "ActiveState=active\nSubState=running\nUnitFileState=enabled\nNRestarts=0\n"
MANAGER = """\
mode: paper
gateway: {port: 4002}
defaults:
  stop: {percent_of_premium: 50}
"""


class Fixture:
    """A host in order, which a fault changes."""

    def __init__(self, root: Path) -> None:
        self.inspection = deepcopy(INSPECTION)
        self.info: dict[str, Any] = dict(INFO)
        self.host = FakeHost(root)
        write = self.host.write
        write("/etc/shadow", "root:*:1::::::\nubuntu:!:1::::::\n")
        write("/etc/group", "root:x:0:\ndocker:x:998:\n", 0o644)
        write("/etc/ib-gateway/ib-gateway/instance.json", json.dumps(DOCUMENT))
        write("/etc/ib-gateway/ib-gateway/container.env", "TRADING_MODE=paper\n")
        write("/etc/ib-gateway/ib-gateway/secrets/login.env", "TWS_USERID=edmund77\n")
        write("/etc/ib-gateway/ib-gateway/secrets/tws_password", "Tr0ub4dor&3", 0o400)
        write("/etc/ib-gateway/ib-gateway/secrets/vnc_password", "k3Xw9QzB", 0o400)
        write("/etc/ib-gateway/ib-gateway/secrets/notify_urls", "tgram://123456789:AAbbCCddEEffGGhhIIjj/42\n")
        self.host.path("/etc/ib-gateway/ib-gateway/secrets").chmod(0o700)
        for name in ("state", "settings"):
            self.host.path(f"/var/lib/ib-gateway/ib-gateway/{name}").mkdir(parents=True, mode=0o700)
        write("/etc/systemd/system/ib-gateway.service", "[Service]\nExecStart=/bin/true\n", 0o644)
        write("/etc/systemd/journald.conf.d/ib-gateway.conf", "[Journal]\nSystemMaxUse=1G\n", 0o644)
        write("/etc/position-manager/position-manager.yml", MANAGER, 0o640)
        write("/proc/1/cmdline", "/sbin/init\0", 0o644)
        write("/proc/1/environ", "TERM=linux\0")
        self.state = self.host.path("/var/lib/position-manager/position-manager")
        self.state.mkdir(parents=True, mode=0o700)
        database = sqlite3.connect(self.state / "journal-paper.db")
        database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, text TEXT)")
        database.executemany("INSERT INTO events (text) VALUES (?)", [("x" * 200,)] * 200)
        database.commit()
        database.close()
        self.host.path("/var/lib/apt/lists").mkdir(parents=True)
        self.outputs = {
            "ss": SS,
            "nft": NFT,
            "sshd": SSHD,
            "docker ps": "ib-gateway\n",
            "systemctl show": SHOW,
            "systemctl is-enabled": "enabled\n",
            "systemd-analyze": "→ Overall exposure level for ib-gateway.service: 1.4 OK :-)\n",
            "systemd-detect-virt": "none\n",
            "apt-get": "",
            "chronyc": "C0A80101,192.168.1.1,3,1795968000.1,0.0001,0,0,0,0,0,0,0,64,Normal\n",
            "journalctl": "a line\n",
        }

    def seal(self) -> FakeHost:
        self.outputs["docker info"] = json.dumps(self.info)
        self.outputs["docker container inspect"] = json.dumps([self.inspection])
        self.host.outputs = self.outputs
        return self.host


SUBJECTS: tuple[Callable[[FakeHost], Any], ...] = (
    network.check,
    access.check,
    files.check,
    container.check,
    units.check,
    lambda host: upkeep.check(host, NOW),
    manager.check,
)


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def points(host: FakeHost) -> list[Point]:
    return [point for subject in SUBJECTS for point in subject(host)]


def test_a_host_as_deployed_fails_no_point(fixture: Fixture) -> None:
    failed = [(point.id, point.found) for point in points(fixture.seal()) if point.verdict is not Verdict.PASSED]
    # The manager does not send live, so two points do not apply.
    assert [entry for entry in failed if entry[0] not in ("manager-accounts", "heartbeat")] == []


def _ports(f: Fixture) -> None:
    f.outputs["ss"] += 'tcp LISTEN 0 128 0.0.0.0:5900 0.0.0.0:* users:(("x11vnc",pid=7,fd=3))\n'


def _no_firewall(f: Fixture) -> None:
    del f.outputs["nft"]


def _accept(f: Fixture) -> None:
    f.outputs["nft"] = NFT.replace("policy drop", "policy accept")


def _passwords(f: Fixture) -> None:
    f.outputs["sshd"] = SSHD.replace("passwordauthentication no", "passwordauthentication yes")


def _empty_password(f: Fixture) -> None:
    f.host.write("/etc/shadow", "root:*:1::::::\nguest::1::::::\n")


def _docker_group(f: Fixture) -> None:
    f.host.write("/etc/group", "docker:x:998:ubuntu\n")


def _mode(f: Fixture) -> None:
    f.host.path("/etc/ib-gateway/ib-gateway/secrets/tws_password").chmod(0o444)


def _state_mode(f: Fixture) -> None:
    f.state.chmod(0o755)


def _in_inspect(f: Fixture) -> None:
    f.inspection["Config"]["Env"].append("TWS_PASSWORD=Tr0ub4dor&3")


def _in_argv(f: Fixture) -> None:
    f.host.write("/proc/77/cmdline", "curl\0--user\0edmund77:Tr0ub4dor&3\0")


def _in_environ(f: Fixture) -> None:
    f.host.write("/proc/77/environ", "TOKEN=AAbbCCddEEffGGhhIIjj\0")


def _in_journal(f: Fixture) -> None:
    f.outputs["journalctl"] = "post to tgram://123456789:AAbbCCddEEffGGhhIIjj/42 failed\n"


def _in_unit(f: Fixture) -> None:
    f.host.write("/etc/systemd/system/backup.service", "[Service]\nEnvironment=PW=Tr0ub4dor&3\n")


def _no_live_restore(f: Fixture) -> None:
    f.info["LiveRestoreEnabled"] = False


def _engine_on_tcp(f: Fixture) -> None:
    f.host.write("/proc/99/cmdline", "/usr/bin/dockerd\0--host=tcp://0.0.0.0:2375\0")


def _logs(f: Fixture) -> None:
    f.info["LoggingDriver"] = "json-file"


def _socket(f: Fixture) -> None:
    f.inspection["Mounts"].append({"Source": "/var/run/docker.sock"})


def _privileged(f: Fixture) -> None:
    f.inspection["HostConfig"]["Privileged"] = True


def _capabilities(f: Fixture) -> None:
    f.inspection["HostConfig"]["CapDrop"] = None


def _root_user(f: Fixture) -> None:
    f.inspection["Config"]["User"] = ""


def _no_limit(f: Fixture) -> None:
    f.inspection["HostConfig"]["Memory"] = 0


def _writable(f: Fixture) -> None:
    f.inspection["HostConfig"]["ReadonlyRootfs"] = False


def _published(f: Fixture) -> None:
    f.inspection["HostConfig"]["PortBindings"]["4004/tcp"][0]["HostIp"] = "0.0.0.0"  # noqa: S104 - the fault


def _moving(f: Fixture) -> None:
    f.host.write("/etc/ib-gateway/ib-gateway/instance.json", json.dumps({**DOCUMENT, "image": "ib-gateway:stable"}))


def _not_running(f: Fixture) -> None:
    f.outputs["systemctl show"] = SHOW.replace("active", "failed")


def _disabled(f: Fixture) -> None:
    f.outputs["systemctl show"] = SHOW.replace("enabled", "disabled")


def _restarts(f: Fixture) -> None:
    f.outputs["systemctl show"] = SHOW.replace("NRestarts=0", "NRestarts=7")


def _exposed(f: Fixture) -> None:
    f.outputs["systemd-analyze"] = "→ Overall exposure level for ib-gateway.service: 9.6 UNSAFE\n"


def _updates(f: Fixture) -> None:
    f.outputs["apt-get"] = "Inst openssl [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64])\n"


def _no_automatic(f: Fixture) -> None:
    f.outputs["systemctl is-enabled"] = "disabled\n"


def _reboot(f: Fixture) -> None:
    f.host.write("/run/reboot-required", "")


def _clock(f: Fixture) -> None:
    f.outputs["chronyc"] = f.outputs["chronyc"].replace("0.0001", "7.5")


def _unlimited(f: Fixture) -> None:
    f.host.write("/etc/systemd/journald.conf.d/ib-gateway.conf", "[Journal]\n")


def _bad_manager(f: Fixture) -> None:
    f.host.write("/etc/position-manager/position-manager.yml", MANAGER + "colour: blue\n")


def _no_gateway(f: Fixture) -> None:
    f.host.write("/etc/position-manager/position-manager.yml", MANAGER.replace("gateway:", "gateway: here #"))


def _other_mode(f: Fixture) -> None:
    f.host.write("/etc/position-manager/position-manager.yml", MANAGER.replace("mode: paper", "mode: live"))


def _no_stop(f: Fixture) -> None:
    f.host.write("/etc/position-manager/position-manager.yml", MANAGER.replace("stop:", "target:"))


def _no_journal(f: Fixture) -> None:
    (f.state / "journal-paper.db").unlink()


def _damaged(f: Fixture) -> None:
    path = f.state / "journal-paper.db"
    content = bytearray(path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    path.write_bytes(content)


def _halted(f: Fixture) -> None:
    (f.state / "HALT").touch()


PLANTED: tuple[tuple[Callable[[Fixture], None], str], ...] = (
    (_ports, "ports"),
    (_no_firewall, "firewall"),
    (_accept, "firewall"),
    (_passwords, "sshd"),
    (_empty_password, "passwords"),
    (_docker_group, "docker-group"),
    (_mode, "modes"),
    (_state_mode, "state-modes"),
    (_in_inspect, "secrets-inspect"),
    (_in_argv, "secrets-processes"),
    (_in_environ, "secrets-processes"),
    (_in_journal, "secrets-journal"),
    (_in_unit, "secrets-units"),
    (_no_live_restore, "engine"),
    (_engine_on_tcp, "engine"),
    (_logs, "container-logs"),
    (_socket, "engine-socket"),
    (_privileged, "hardening"),
    (_capabilities, "hardening"),
    (_root_user, "hardening"),
    (_no_limit, "hardening"),
    (_writable, "read-only-root"),
    (_published, "published"),
    (_moving, "pinned"),
    (_not_running, "running"),
    (_disabled, "running"),
    (_restarts, "restarts"),
    (_exposed, "exposure"),
    (_updates, "security-updates"),
    (_no_automatic, "automatic-updates"),
    (_reboot, "reboot"),
    (_clock, "clock"),
    (_unlimited, "journal-limit"),
    (_bad_manager, "manager-config"),
    (_no_gateway, "manager-config"),
    (_other_mode, "manager-mode"),
    (_no_stop, "rules"),
    (_no_journal, "manager-journal"),
    (_damaged, "manager-journal"),
    (_halted, "manager-halt"),
)


@pytest.mark.parametrize(("plant", "id_"), PLANTED, ids=[plant.__name__.strip("_") for plant, _ in PLANTED])
def test_a_planted_fault_fails_its_point_with_a_remedy(
    fixture: Fixture, plant: Callable[[Fixture], None], id_: str
) -> None:
    plant(fixture)
    failed = {point.id: point for point in points(fixture.seal()) if point.verdict is Verdict.FAILED}
    assert id_ in failed
    assert failed[id_].remedy
    assert "Tr0ub4dor" not in failed[id_].found
    assert "AAbbCC" not in failed[id_].found


@pytest.mark.parametrize(
    ("password", "weak"),
    [("k3Xw9QzB", False), ("short", True), ("password", True), ("aaaaaaaa", True), ("changeme", True)],
)
def test_a_weak_screen_password_is_found_and_not_shown(password: str, weak: bool) -> None:
    faults = list(gateway.weaknesses(password))
    assert bool(faults) is weak
    assert not any(password in fault for fault in faults if password != "password")


def test_live_without_expected_accounts_fails(fixture: Fixture) -> None:
    document = {**DOCUMENT, "trading_mode": "live", "expected_accounts": []}
    document["apis"] = [{"mode": "live", "host": "127.0.0.1", "port": 4001, "native_port": 4001}]
    instance = parse(document, Path("/etc/ib-gateway/ib-gateway/instance.json"))
    assert gateway.expected(instance).is_failed_must
    assert gateway.expected(parse(DOCUMENT, Path("/i"))).verdict is Verdict.SKIPPED


def test_the_read_only_api_must_fit_the_managers(fixture: Fixture) -> None:
    host = fixture.seal()
    instance = parse(DOCUMENT, Path("/i"))
    assert gateway.read_only(host, instance).verdict is Verdict.PASSED
    assert gateway.read_only(host, parse({**DOCUMENT, "read_only_api": True}, Path("/i"))).is_failed_must
    host.path("/etc/position-manager/position-manager.yml").unlink()
    assert gateway.read_only(host, instance).is_failed_must


def test_a_missing_program_is_unknown_and_counts_as_failed_for_a_must(fixture: Fixture) -> None:
    del fixture.outputs["sshd"]
    (point,) = [point for point in access.check(fixture.seal()) if point.id == "sshd"]
    assert point.verdict is Verdict.UNKNOWN
    assert point.level is Level.MUST
    assert point.is_failed_must


PAGE_SHOWN = f"{SHOW.rstrip()}\nUser=ib-dashboard\nCapabilityBoundingSet=cap_dac_read_search\nProtectSystem=strict\n"


@pytest.mark.parametrize(
    ("shown", "faults"),
    [
        (PAGE_SHOWN, []),
        (PAGE_SHOWN.replace("ActiveState=active", "ActiveState=failed"), ["ActiveState is failed, not active"]),
        (PAGE_SHOWN.replace("User=ib-dashboard", "User=root"), ["it runs as root"]),
        (PAGE_SHOWN.replace("User=ib-dashboard\n", ""), ["it runs as root"]),
        (PAGE_SHOWN.replace("cap_dac_read_search", "cap_dac_read_search cap_net_admin"), ["CapabilityBoundingSet is"]),
        (PAGE_SHOWN.replace("strict", "no"), ["ProtectSystem is no, not strict"]),
    ],
)
def test_the_status_page_must_not_be_able_to_act(fixture: Fixture, shown: str, faults: list[str]) -> None:
    fixture.outputs["systemctl show"] = shown
    assert not any(point.id == "dashboard" for point in points(fixture.seal())), "it is not deployed"
    fixture.host.write("/etc/systemd/system/ib-dashboard.service", "[Service]\n")
    (point,) = (point for point in points(fixture.seal()) if point.id == "dashboard")
    assert (point.verdict is Verdict.PASSED) is (faults == [])
    assert all(fault in point.found for fault in faults)
