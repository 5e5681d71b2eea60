"""The preflight of the ib_gateway role: each wrong setting is named with its value and its remedy."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from tests.plugins import load

ROLE = Path(__file__).parents[3] / "roles" / "ib_gateway"


instances_module = load("roles/ib_gateway/filter_plugins/ib_gateway_instances.py")
preflight = load("roles/ib_gateway/filter_plugins/ib_gateway_preflight.py")

SHARED: dict[str, Any] = {
    name.removeprefix("ib_gateway_"): value
    for name, value in yaml.safe_load((ROLE / "defaults/main.yml").read_text()).items()
} | {"userid": "demo", "password": "pass\\word", "vnc_password": "s3cret-1"}


def resolve(instances: object = None, **settings: Any) -> list[dict[str, Any]]:
    chosen = {"ib-gateway": {}} if instances is None else instances
    resolved: list[dict[str, Any]] = instances_module.resolve(chosen, SHARED | settings, secrets=True)
    return resolved


def test_the_defaults_with_credentials_have_no_problem() -> None:
    assert preflight.problems(resolve()) == []


OLD_IMAGE = "ghcr.io/gnzsnz/ib-gateway:10.45.1j"


def test_a_version_that_ib_has_ended_is_refused_with_the_remedy_unless_it_is_allowed() -> None:
    over = date(2026, 12, 15)
    (problem,) = preflight.problems(resolve(image=OLD_IMAGE), today=over)
    for named in (
        "ib_gateway_image",
        "10.45.1j",
        "2026-12-15",
        "10.50.1",
        "ib_gateway_desupported_image_allowed: true",
    ):
        assert named in problem
    assert preflight.warnings(resolve(image=OLD_IMAGE), over) == []
    allowed = resolve(image=OLD_IMAGE, desupported_image_allowed=True)
    assert preflight.problems(allowed, today=over) == []
    (warning,) = preflight.warnings(allowed, over)
    assert "does not log in any more" in warning


def test_a_version_that_ib_is_about_to_end_is_a_warning() -> None:
    today = date(2026, 11, 29)
    assert preflight.problems(resolve(image=OLD_IMAGE), today=today) == []
    (warning,) = preflight.warnings(resolve(image=OLD_IMAGE), today)
    assert warning.startswith("ib-gateway: IB ends IB Gateway 10.45.1j on 2026-12-15, in 16 days")
    assert preflight.warnings(resolve(), today) == []
    assert preflight.warnings(resolve(image=OLD_IMAGE), date(2026, 10, 30)) == []


def test_the_watchs_own_client_id_may_follow_the_verifications() -> None:
    assert preflight.problems(resolve(watch_client_id=9003, twofa_quiet_hours="23:00-07:00", yield_minutes=0)) == []


@pytest.mark.parametrize(
    ("setting", "value", "variable", "remedy"),
    [
        ("userid", "", "ib_gateway_userid", "vault"),
        ("password", "CHANGEME", "ib_gateway_password", "vault"),
        ("password", "secret\n", "ib_gateway_password", "line break"),
        ("trading_mode", "demo", "ib_gateway_trading_mode", "paper, live, both"),
        ("trading_mode", "live", "ib_gateway_trading_mode", "ib_gateway_live_confirmed: true"),
        ("trading_mode", "both", "ib_gateway_trading_mode", "ib_gateway_live_confirmed: true"),
        ("auto_restart_time", "02:00", "ib_gateway_auto_restart_time", "02:00 AM"),
        ("auto_restart_time", "14:00 PM", "ib_gateway_auto_restart_time", "12 hours"),
        ("cold_restart_time", "01:00 PM", "ib_gateway_cold_restart_time", "24 hours"),
        ("cold_restart_time", 780, "ib_gateway_cold_restart_time", "in quotes"),
        ("timezone", "America/Gotham", "ib_gateway_timezone", "America/New_York"),
        ("twofa_quiet_hours", "23-7", "ib_gateway_twofa_quiet_hours", "23:00-07:00"),
        ("twofa_quiet_hours", "23:00-24:00", "ib_gateway_twofa_quiet_hours", "23:00-07:00"),
        ("twofa_quiet_hours", "07:00-07:00", "ib_gateway_twofa_quiet_hours", "23:00-07:00"),
        ("reminder_quiet_hours", "22-8", "ib_gateway_reminder_quiet_hours", "23:00-07:00"),
        ("twofa_pushes_per_hour", -1, "ib_gateway_twofa_pushes_per_hour", "at least 0"),
        ("yield_minutes", "30", "ib_gateway_yield_minutes", "at least 0"),
        ("link_lost_minutes", 0, "ib_gateway_link_lost_minutes", "above 0"),
        ("link_restart_minutes", True, "ib_gateway_link_restart_minutes", "at least 0"),
        ("watch_client_id", 9000, "ib_gateway_watch_client_id", "two after it"),
        ("watch_client_id", 9002, "ib_gateway_watch_client_id", "two after it"),
        ("watch_client_id", "x", "ib_gateway_watch_client_id", "at least 0"),
        ("vnc_password", "", "ib_gateway_vnc_password", "not set"),
        ("vnc_password", "ibgateway", "ib_gateway_vnc_password", "published default"),
        ("vnc_password", "ibgatewaX", "ib_gateway_vnc_password", "published default"),
        ("vnc_password", "longer-than-8", "ib_gateway_vnc_password", "13 characters"),
        ("vnc_password", "short", "ib_gateway_vnc_password", "5 characters"),
        ("notify_urls", "discord://1/abc", "ib_gateway_notify_urls", "no list"),
        ("notify_urls", ["discord://1/abc", "no address"], "ib_gateway_notify_urls", "Entry 2"),
        ("notify_urls", ["discord://1/a bc"], "ib_gateway_notify_urls", "without spaces"),
        ("notify_urls", [""], "ib_gateway_notify_urls", "WEBHOOK_TOKEN"),
        ("notify_urls", ["discord://1/abc", "nonsense://x/y"], "Entry 2 of ib_gateway_notify_urls", "no such service"),
        ("notify_urls", ["tgram://onlythetoken"], "ib_gateway_notify_urls", "missing or wrong"),
        ("notify_urls", ["discord://1/abc?flags=wrong"], "ib_gateway_notify_urls", "missing or wrong"),
        ("image", "ghcr.io/gnzsnz/ib-gateway:latest", "ib_gateway_image", "exact version"),
        ("image", "localhost:5000/ib-gateway", "ib_gateway_image", "exact version"),
        ("image", "ghcr.io/gnzsnz/ib-gateway@sha256:12", "ib_gateway_image", "64 hexadecimal"),
        ("memory_mb", 1024, "ib_gateway_memory_mb", "1280"),
        ("java_heap_mb", 1000, "ib_gateway_java_heap_mb", "read_only_root: false"),
        ("java_heap_mb", "768", "ib_gateway_java_heap_mb", "whole number"),
        ("extra_ports", ["127.0.0.1:4002:4002"], "ib_gateway_extra_ports", "4004"),
        ("extra_ports", ["0.0.0.0:9000:9000"], "ib_gateway_extra_ports", "127.0.0.1"),
        ("extra_ports", ["9000:9000"], "ib_gateway_extra_ports", "HOST_PORT"),
        ("extra_ports", ["127.0.0.1:4002:9000"], "ib_gateway_extra_ports", "own port"),
        ("extra_environment", {"TZ": "Europe/Berlin"}, "ib_gateway_extra_environment", "ib_gateway_timezone"),
        ("extra_environment", {"TWS_PASSWORD": "x"}, "ib_gateway_extra_environment", "ib_gateway_password"),
        ("extra_environment", {"A B": "x"}, "ib_gateway_extra_environment", "underscores"),
        (
            "extra_environment",
            yaml.safe_load("BYPASS_WARNING: yes"),
            "BYPASS_WARNING the boolean true",
            '"yes" or "true"',
        ),
        ("extra_environment", yaml.safe_load("BYPASS_WARNING: off"), "BYPASS_WARNING the boolean", '"no" or "false"'),
        ("extra_environment", yaml.safe_load("SAVE_AT: 15:30"), "SAVE_AT the number 930", '"15:30" or "930"'),
        ("extra_environment", yaml.safe_load("SAVE_AT: 15:30:10"), "SAVE_AT the number 55810", '"15:30:10"'),
        ("extra_environment", yaml.safe_load("EMPTY:"), "EMPTY no value", '""'),
        ("extra_environment", yaml.safe_load("LIST: [a]"), "LIST a value of type list", "in quotes"),
        ("extra_environment", yaml.safe_load("RATE: 1.5"), "RATE a value of type float", "in quotes"),
        ("extra_environment", {"LINES": "a\nb"}, "LINES a line break", "one line"),
        ("password", " secret", "ib_gateway_password", "blank at its start or end"),
        ("password", "secret\t", "ib_gateway_password", "blank at its start or end"),
        ("userid", "demo ", "ib_gateway_userid", "blank at its start or end"),
        ("password", "pässword", "ib_gateway_password", "Latin-1"),
        ("password", "5€", "ib_gateway_password", "properties"),
        ("password", "a\tb", "ib_gateway_password", "printable ASCII"),
        ("vnc_port", 80, "ib_gateway_vnc_port", "1024"),
        ("vnc_port", 4002, "ib_gateway_vnc_port", "own port"),
        ("metrics_port", 80, "ib_gateway_metrics_port", "1024 to 65535, auto, or 0 for none"),
        ("metrics_port", "none", "ib_gateway_metrics_port", "1024 to 65535, auto, or 0 for none"),
        ("metrics_port", 5900, "ib_gateway_metrics_port", "own port"),
        ("vnc_port", 9402, "ib_gateway_metrics_port", "own port"),
        ("existing_session_action", "fight", "ib_gateway_existing_session_action", "primaryoverride"),
        ("twofa_timeout_action", "wait", "ib_gateway_twofa_timeout_action", "restart"),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(setting: str, value: Any, variable: str, remedy: str) -> None:
    found = preflight.problems(resolve(**{"login_controller": "ibc", setting: value}))
    assert any(variable in problem and remedy in problem for problem in found), found


@pytest.mark.parametrize("password", ["hunter2\\", "ibgateway", "s3cr3t\nx"])
def test_no_problem_shows_a_secret(password: str) -> None:
    text = " ".join(
        preflight.problems(resolve(userid="", password=password, vnc_password=password, notify_urls=[password]))
    )
    assert password not in text


def test_values_of_variables_that_yaml_leaves_alone_are_accepted() -> None:
    values = yaml.safe_load('{A: "yes", B: "15:30", C: 2, D: 100000, E: "", F: text, G: -5}')
    resolved = resolve(extra_environment=values)
    assert preflight.problems(resolved) == []
    environment = instances_module.environment(resolved[0])
    assert [environment[name] for name in "ABCDEFG"] == ["yes", "15:30", "2", "100000", "", "text", "-5"]


@pytest.mark.parametrize("password", ["a b", "p{#ss", "{{x}}", "12345678", "%$&'\"`!=:#"])
def test_a_password_that_the_image_can_carry_is_accepted(password: str) -> None:
    assert preflight.problems(resolve(password=password)) == []


def test_addresses_of_all_kinds_are_accepted() -> None:
    urls = [
        "discord://1/a-B_c",
        "https://discord.com/api/webhooks/1/abc",
        "json://u:p@127.0.0.1:80/x?y=z",
        "ntfy://topic",
    ]
    assert preflight.problems(resolve(notify_urls=urls)) == []


def test_live_is_accepted_once_it_is_confirmed() -> None:
    assert preflight.problems(resolve(trading_mode="live", live_confirmed=True)) == []


def test_both_needs_two_sets_of_credentials() -> None:
    found = preflight.problems(resolve(trading_mode="both", live_confirmed=True))
    assert [problem.split(" ")[0] for problem in found] == [
        "ib_gateway_userid_paper",
        "ib_gateway_password_paper",
    ]


def test_instances_with_the_same_ports_are_refused_each_by_name() -> None:
    found = preflight.problems(resolve({"one": {}, "two": {}}))
    assert len(found) == 2
    assert all("instance two" in problem and "instance one" in problem for problem in found)


def test_the_port_of_the_metrics_follows_from_the_lowest_port_of_the_api() -> None:
    several: dict[str, dict[str, Any]] = {
        "paper": {},
        "live": {"trading_mode": "live"},
        "other": {"api_port_paper": 4012},
        "off": {},
    }
    several["off"] |= {"metrics_port": 0}
    several["set"] = {"metrics_port": "9999"}
    ports = {instance["name"]: instance["metrics_port"] for instance in resolve(several)}
    assert ports == {"paper": 9402, "live": 9401, "other": 9412, "off": 0, "set": 9999}
    assert [instance["metrics_port"] for instance in resolve(trading_mode="both")] == [9401]
    assert instances_module.instance_file(resolve()[0])["metrics_port"] == 9402


def test_instances_of_different_apis_need_no_port_for_their_metrics() -> None:
    second = {"trading_mode": "live", "live_confirmed": True, "vnc_port": 5901}
    assert preflight.problems(resolve({"one": {}, "two": second})) == []
    same = second | {"metrics_port": 9402}
    (found,) = preflight.problems(resolve({"one": {}, "two": same}))
    assert found.startswith(
        "ib_gateway_metrics_port (instance two) is 9402, which ib_gateway_metrics_port (instance one)"
    )


def test_a_wrong_port_of_the_api_is_reported_once() -> None:
    found = preflight.problems(resolve(api_port_paper="abc"))
    assert [problem.split(" ")[0] for problem in found] == ["ib_gateway_api_port_paper"]


def test_an_unknown_setting_of_an_instance_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"ib-gateway has unknown settings: trading_mod; allowed are: .*trading_mode"
    ):
        resolve({"ib-gateway": {"trading_mod": "live"}})


def test_an_instance_cannot_stay_and_go() -> None:
    (found,) = preflight.problems(resolve(), ["ib-gateway"])
    assert "ib_gateway_removed_instances names ib-gateway" in found
    (found,) = preflight.problems(resolve(), ["../etc"])
    assert "'../etc'" in found


CHECK = ["memory 4000000", "socket LISTEN 0 4096 127.0.0.1:22 0.0.0.0:*"]


def test_the_ports_of_the_instances_own_container_are_free_for_it() -> None:
    check = [
        *CHECK,
        "socket LISTEN 0 4096 127.0.0.1:4002 0.0.0.0:*",
        "container ib-gateway 127.0.0.1:4002->4004/tcp, 127.0.0.1:5900->5900/tcp",
    ]
    assert preflight.host_problems(resolve(), check) == []


def test_a_port_of_another_container_is_named_with_that_container() -> None:
    found = preflight.host_problems(resolve(), [*CHECK, "container old-gateway 127.0.0.1:4002->4002/tcp"])
    assert len(found) == 1
    assert "old-gateway" in found[0]
    assert "4002" in found[0]


def test_a_port_of_another_program_is_named_with_how_to_find_it() -> None:
    found = preflight.host_problems(resolve(), [*CHECK, "socket LISTEN 0 5 0.0.0.0:5900 0.0.0.0:*"])
    assert len(found) == 1
    assert "ib_gateway_vnc_port" in found[0]
    assert "sport = :5900" in found[0]


def test_the_metrics_of_the_running_supervisor_are_no_other_program() -> None:
    check = [*CHECK, "socket LISTEN 0 8 127.0.0.1:9402 0.0.0.0:*"]
    (found,) = preflight.host_problems(resolve(), check)
    assert "ib_gateway_metrics_port" in found and "sport = :9402" in found
    assert preflight.host_problems(resolve(), [*check, "metrics 9402"]) == []
    assert preflight.host_problems(resolve(metrics_port=0), check) == []


def test_a_host_with_too_little_memory_is_refused() -> None:
    found = preflight.host_problems(resolve(), ["memory 1000000"])
    assert len(found) == 1
    assert "976 MB" in found[0]


def test_a_backslash_in_the_password_is_doubled_for_the_properties_file() -> None:
    files = {Path(file["path"]).name: file for file in instances_module.secret_files(resolve())}
    assert files["tws_password"]["content"] == "pass\\\\word"
    assert (files["tws_password"]["mode"], files["tws_password"]["owner"]) == ("0400", "1000")
    assert (files["login.env"]["mode"], files["login.env"]["owner"]) == ("0600", "0")
    assert (files["notify_urls"]["mode"], files["notify_urls"]["content"]) == ("0600", "")
    files = {
        Path(file["path"]).name: file for file in instances_module.secret_files(resolve(notify_urls=["a://b", "c://d"]))
    }
    assert files["notify_urls"]["content"] == "a://b\nc://d\n"


def test_no_secret_is_left_in_what_loops_show() -> None:
    shown = repr(instances_module.resolve({"ib-gateway": {}}, SHARED | {"notify_urls": ["discord://1/t0ken"]}))
    assert "t0ken" not in shown
    assert "pass\\\\word" not in shown
    assert "s3cret-1" not in shown


def test_the_health_command_follows_the_mode() -> None:
    live = instances_module.health_command(
        {"trading_mode": "live", **{k: v for k, v in SHARED.items() if k != "trading_mode"}}
    )
    both = instances_module.health_command({**SHARED, "trading_mode": "both"})
    assert "0FA1" in live
    assert "0FA2" not in live
    assert "0FA1" in both
    assert "0FA2" in both


def test_the_relay_ports_are_published_never_the_native_ones() -> None:
    (both,) = resolve(trading_mode="both", live_confirmed=True)
    assert [(api["port"], api["relay_port"]) for api in both["apis"]] == [(4001, 4003), (4002, 4004)]


def test_every_setting_that_an_instance_may_override_has_a_default_of_the_role() -> None:
    of_the_host = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__ib_gateway_of_the_host"]
    role_wide = {
        "instances",
        "removed_instances",
        "login_timeout",
        "handshake_retries",
        "handshake_delay",
        "handshake_timeout",
        "screenshots_dir",
        "bundles_dir",
        "calendars_dir",
        "notify_test",
    }
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    assert set(of_the_host) == role_wide
    assert {f"ib_gateway_{name}" for name in role_wide} < set(defaults)


@pytest.mark.parametrize(("own", "expected"), [("", "23:00-07:00"), ("22:00-08:00", "22:00-08:00")])
def test_reminders_are_silent_in_the_hours_without_requests_unless_they_have_their_own(own: str, expected: str) -> None:
    (instance,) = resolve(twofa_quiet_hours="23:00-07:00", reminder_quiet_hours=own)
    assert instances_module.instance_file(instance)["reminder_quiet_hours"] == expected


SECRET = "gezd gnbv gy3t qojq"
AHEAD = (
    "clock C0248F97,192.36.143.151,2,1795989832.118842346,-7.261000000,7.254000000,0.000512064,-7.318,-0.210,3.412,"
    "0.021411826,0.001306071,64.5,Normal"
)


@pytest.mark.parametrize(
    ("secret", "why"), [("123456", "is a code"), ("gezdgnbvgy3tqo", "14 characters"), ("gezd-0189-gy3t-qojq", "base32")]
)
def test_a_secret_that_gives_no_codes_is_refused_and_not_shown(secret: str, why: str) -> None:
    (problem,) = preflight.problems(resolve(totp_secret=secret))
    assert "ib_gateway_totp_secret" in problem
    assert why in problem
    assert secret not in problem


def test_a_secret_as_ibkr_shows_it_is_taken_and_is_a_file_of_roots() -> None:
    instances = resolve(totp_secret=SECRET)
    assert preflight.problems(instances) == []
    files = {Path(file["path"]).name: file for file in instances_module.secret_files(instances)}
    assert files["totp_secret"]["content"] == f"{SECRET}\n"
    assert (files["totp_secret"]["mode"], files["totp_secret"]["owner"]) == ("0600", "0")
    assert instances_module.instance_file(instances[0])["totp"] is True
    assert SECRET not in str(instances_module.environment(instances[0]) | instances_module.instance_file(instances[0]))


def test_a_secret_that_was_taken_away_does_not_stay_on_the_host() -> None:
    files = {Path(file["path"]).name: file for file in instances_module.secret_files(resolve())}
    assert files["totp_secret"]["content"] == ""
    assert instances_module.instance_file(resolve()[0])["totp"] is False


def test_with_a_secret_the_controller_chooses_the_authenticator_unless_another_device_is_set() -> None:
    (automatic,) = resolve(totp_secret=SECRET)
    (chosen,) = resolve(totp_secret=SECRET, twofa_device="My app")
    (without,) = resolve()
    assert instances_module.environment(automatic)["TWOFA_DEVICE"] == "Mobile Authenticator app"
    assert instances_module.environment(chosen)["TWOFA_DEVICE"] == "My app"
    assert "TWOFA_DEVICE" not in instances_module.environment(without)


def test_a_clock_that_would_give_wrong_codes_is_refused() -> None:
    (problem,) = preflight.host_problems(resolve(totp_secret=SECRET), [*CHECK, AHEAD])
    assert "7.3 s" in problem
    assert "makestep" in problem
    assert preflight.host_problems(resolve(), [*CHECK, AHEAD]) == [], "nobody needs it right to seconds"
    right = AHEAD.replace("-7.261000000", "0.000012")
    for clock in (right, "clock 506 Cannot talk to daemon"):
        assert preflight.host_problems(resolve(totp_secret=SECRET), [*CHECK, clock]) == []
