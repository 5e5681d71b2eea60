"""The signature file, and what is refused in one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway_watch.signatures import LoginState, NextStep, SignatureFileError, load, parse

GOOD = """
controller = "robot"
line = 'ROBOT:'
process = 'robot'
[dialogs]
pattern = '(?P<title>.+) (?P<event>shown|gone)'
opened = "shown"
closed = "gone"
known = 'Login'
seconds = 30
cause = "broken"
[causes.broken]
text = "It broke."
remedy = "Mend it."
person = true
next_step = "hangs"
[[signatures]]
id = "broke"
pattern = 'broke at (?P<place>\\w+)'
state = "failed"
cause = "broken"
text = "broke at {place}"
"""

CAUSES = {
    "empty_credentials": (True, NextStep.HANGS, None),
    "bad_credentials": (True, NextStep.HANGS, None),
    "login_failed": (False, NextStep.RESTARTS, 5),
    "login_error": (False, NextStep.RESTARTS, 5),
    "maintenance": (False, NextStep.RESTARTS, None),
    "account_locked": (True, NextStep.RESTARTS, None),
    "rate_limited": (False, NextStep.LOGS_IN_AGAIN, None),
    "passkey_required": (True, NextStep.RESTARTS, 2),
    "version_unsupported": (True, NextStep.RESTARTS, 2),
    "several_paper_users": (True, NextStep.RESTARTS, 2),
    "twofa_missed": (False, NextStep.LOGS_IN_AGAIN, None),
    "twofa_slow_login": (False, NextStep.RESTARTS, None),
    "twofa_device_unknown": (True, NextStep.HANGS, None),
    "twofa_device_unset": (True, NextStep.HANGS, None),
    "existing_session": (True, NextStep.HANGS, None),
    "session_yielded": (False, NextStep.EXITS, None),
    "login_handoff": (True, NextStep.EXITS, None),
    "token_refused": (False, NextStep.HANGS, None),
    "stale_autorestart": (False, NextStep.HANGS, None),
    "server_down": (False, NextStep.RESTARTS, None),
    "server_refused": (False, NextStep.RESTARTS, None),
    "no_login_window": (False, NextStep.RESTARTS, 5),
    "not_configured": (False, NextStep.HANGS, 2),
    "unknown_dialog": (True, NextStep.WAITS, None),
    "controller_error": (False, NextStep.EXITS, 5),
    "control_missing": (False, NextStep.EXITS, 3),
    "controller_misconfigured": (True, NextStep.EXITS, 2),
    "gateway_entry_missing": (True, NextStep.EXITS, 2),
    "settings_unwritable": (True, NextStep.EXITS, 3),
    "bad_image": (True, NextStep.EXITS, None),
    "invalid_trading_mode": (True, NextStep.EXITS, None),
    "password_set_twice": (True, NextStep.EXITS, None),
    "write_access_blocked": (True, NextStep.GOES_ON, None),
}


def test_ibc_has_exactly_the_agreed_causes() -> None:
    causes = load("ibc").causes
    assert {name: (cause.person, cause.next_step, cause.tries) for name, cause in causes.items()} == CAUSES


def test_every_cause_states_what_is_wrong_and_what_to_do_in_a_sentence() -> None:
    for cause in load("ibc").causes.values():
        assert cause.text[0].isupper()
        assert cause.text.endswith(".")
        assert len(cause.remedy) > 20
        assert "\n" not in cause.text + cause.remedy


def test_remedies_name_variables_that_the_role_has() -> None:
    root = Path(__file__).parents[3]
    variables = set(yaml.safe_load((root / "roles/ib_gateway/defaults/main.yml").read_text()))
    remedies = [cause.remedy for cause in load("ibc").causes.values()]
    named = {name for remedy in remedies for name in re.findall(r"\bib_gateway_\w+", remedy)}
    assert named, "no remedy names a variable"
    assert named <= variables


def test_a_lock_is_fixed_by_a_reset_since_no_deploy_shows_it() -> None:
    assert "`gateway-watch reset --instance ib-gateway`" in load("ibc").causes["account_locked"].remedy


def test_what_goes_on_is_never_final() -> None:
    assert not load("ibc").causes["write_access_blocked"].final


def test_a_line_that_nobody_knows_matches_nothing() -> None:
    assert load("ibc").match("2026-11-23 01:00:00:123 IBC: detected frame entitled: Tip of the day") is None


@pytest.mark.parametrize(
    ("line", "signature"),
    [
        ("detected dialog entitled: Login failed; event=Opened", None),
        ("Exiting after error with exit code=1103", "exit_code"),
        ("2026-11-23 01:00:00:123 IBC: <html>Connection to server failed: no", "server_failed_stuck"),
        ("2026-11-23 01:00:00:123 IBC: Connection to server failed: no", "server_failed"),
        ("2026-11-23 01:00:00:123 IBC: Login failed", "login_failed"),
        ("IBC: Login has completed: exiting via [File, Close] menu", None),
        ("2026-11-23 01:00:00:123 IBC: Login has completed", "login_completed"),
        ("Click button: Paper Log In", "paper_button"),
        ("Click button: Log In", "live_button"),
        ("Click button: Re-login", None),
        ("2026-11-23 01:00:00:123 IBC: Trading Login Handoff dialog; {}", None),
        ("2026-11-23 01:00:00:123 IBC: Trading Login Handoff dialog; error: {}", "login_handoff"),
        ("Click button: Disconnect Other Session", "login_handoff_kept"),
    ],
)
def test_lines_that_resemble_each_other_are_distinguished(line: str, signature: str | None) -> None:
    found = load("ibc").match(line)
    assert (found[0].id if found else None) == signature


def test_a_good_file_is_read() -> None:
    signatures = parse(GOOD, "robot.toml")
    found = signatures.match("it broke at dawn")
    assert found is not None
    assert (found[0].state, found[0].cause) == (LoginState.FAILED, signatures.causes["broken"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("controller =", "controler =", r"robot.toml: missing controller"),
        ("person = true", "person = true\ntries = 0", r"cause broken: tries must be a whole number"),
        ("(?P<title>.+)", "(.+)", r"dialogs: the pattern has no group title"),
        ("seconds = 30\n", "", r"dialogs: missing seconds"),
        ("[[signatures]]", '[exits]\n300 = "broken"\n[[signatures]]', r"exit '300' is not a container's exit code"),
        ("[[signatures]]", '[exits]\n3 = "crushed"\n[[signatures]]', r"exit 3: cause 'crushed' is not defined"),
        ("[[signatures]]", "[[refusals]]\npattern = '('\ncause = 'broken'\n[[signatures]]", r"refusal \(: pattern"),
        ('cause = "broken"\ntext', 'cause = "broken"\nrefusal = true\ntext', r"has no group said"),
        ('text = "broke at', 'session = "half"\ntext = "broke at', r"'half' is none of full, kept"),
        ('remedy = "Mend it."\n', "", r"cause broken: missing remedy"),
        ("person =", "human =", r"cause broken: missing person"),
        ('next_step = "hangs"', 'next_step = "sits"', r"cause broken: 'sits' is none of hangs, waits, exits"),
        ('state = "failed"', 'state = "fail"', r"signature broke: 'fail' is none of starting"),
        ('cause = "broken"', 'cause = "crushed"', r"signature broke: cause 'crushed' is not defined"),
        ('cause = "broken"\n', "", r"signature broke: state failed and refusal need a cause"),
        (r"(?P<place>\w+)", r"(?P<place>\w+", r"signature broke: pattern: .*unterminated"),
        ("broke at {place}", "broke at {time}", r"signature broke: the pattern has no group time"),
        ('text = "broke at', 'words = "broke at', r"signature broke: unknown words"),
        ('id = "broke"\n', "", r"signature \(without id\): missing id"),
        (
            "[[signatures]]",
            '[[signatures]]\nid="a"\npattern="a"\n[[signatures]]\nid="a"\npattern="b"\n[[signatures]]',
            "unique: a",
        ),
        ("[[signatures]]", "[[signatures", r"robot.toml: "),
        ('cause = "broken"', 'cause = "broken"\nquiet = { seconds = 3 }', "exactly one of cause and state"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_of_the_fault(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(SignatureFileError, match=message):
        parse(GOOD.replace(old, new), "robot.toml")


def test_a_cause_that_no_line_leads_to_is_refused() -> None:
    extra = '[causes.idle]\ntext = "a"\nremedy = "b"\nperson = true\nnext_step = "exits"\n[causes.broken]'
    with pytest.raises(SignatureFileError, match="no signature leads to the causes idle"):
        parse(GOOD.replace("[causes.broken]", extra), "robot.toml")


@pytest.mark.parametrize("name", ["other", "../ibc", ""])
def test_an_unknown_controller_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(SignatureFileError, match=r"known: ibc"):
        load(name)


COMMAND_SERVER = """
[command_server]
port = 7462
template = "INI_TMPL"
own_configuration = "OWN"
settings = { Port = "7462" }
restart = "AGAIN"
pause = "REST"
accepted = '^YES'
refused = '^NO (?P<text>.*)'
"""


def test_only_a_controller_with_a_command_for_it_restarts_with_its_session() -> None:
    assert load("ibcontroller").command_server is None
    ibc = load("ibc").command_server
    assert ibc is not None
    assert ibc.settings == {"CommandServerPort": str(ibc.port), "BindAddress": "127.0.0.1", "ControlFrom": "127.0.0.1"}
    robot = parse(GOOD.replace("[dialogs]", f"{COMMAND_SERVER}[dialogs]"), "robot.toml").command_server
    assert robot is not None
    assert (robot.restart, robot.pause, robot.template) == ("AGAIN", "REST", "INI_TMPL")


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (COMMAND_SERVER.replace('pause = "REST"\n', ""), "command_server: missing pause"),
        (COMMAND_SERVER.replace("(?P<text>.*)", ""), "command_server: the pattern has no group text"),
        (f"{COMMAND_SERVER}stop = 'STOP'\n", "command_server: unknown stop"),
    ],
)
def test_a_wrong_command_server_is_refused(wrong: str, fault: str) -> None:
    with pytest.raises(SignatureFileError, match=fault):
        parse(GOOD.replace("[dialogs]", f"{wrong}[dialogs]"), "robot.toml")
