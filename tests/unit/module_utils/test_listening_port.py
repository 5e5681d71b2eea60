"""What is read of the sockets of a container, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.plugins import load

listening_port = load("module_utils/listening_port.py")

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENS = (
    "   3: 00000000:0FA2 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n"
)
A_CLIENT = (
    "   6: 0100007F:0FA1 0100007F:E060 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 28 18 -1\n"
)
ON_SIX = (
    "   0: 00000000000000000000000000000000:0FA1 00000000000000000000000000000000:0000 0A 0:0 0:0 0 1000 0 3 1 0 1 0\n"
)
ID = "e5eacb593cf6"


@pytest.mark.parametrize(
    ("rows", "ports"),
    [("", set()), (LISTENS, {4002}), (A_CLIENT, set()), (LISTENS + ON_SIX, {4001, 4002}), ("   9: half\n", set())],
)
def test_only_listening_sockets_count(rows: str, ports: set[int]) -> None:
    assert listening_port.listening_ports(HEAD + rows) == ports


def process(
    folder: Path, *, cgroup: str = f"0::/docker/{ID}", four: str | None = LISTENS, six: str | None = ""
) -> None:
    (folder / "17/net").mkdir(parents=True)
    (folder / "17/cgroup").write_text(cgroup)
    for name, rows in (("tcp", four), ("tcp6", six)):
        if rows is not None:
            (folder / "17/net" / name).write_text(HEAD + rows)


@pytest.mark.parametrize(("ports", "listens"), [([4002], True), ([4001], False), ([4001, 4002], False)])
def test_a_gateway_listens_once_it_does_on_all_its_ports(tmp_path: Path, ports: list[int], listens: bool) -> None:
    process(tmp_path)
    assert listening_port.observe(17, ID, ports, proc=tmp_path) is listens


def test_a_socket_of_both_protocols_counts(tmp_path: Path) -> None:
    process(tmp_path, six=ON_SIX)
    assert listening_port.observe(17, ID, [4001, 4002], proc=tmp_path) is True


def test_a_kernel_without_ipv6_is_observed(tmp_path: Path) -> None:
    process(tmp_path, six=None)
    assert listening_port.observe(17, ID, [4002], proc=tmp_path) is True


def test_a_process_of_something_else_is_not_observed(tmp_path: Path) -> None:
    """The engine may count its processes elsewhere; the same number is another process here."""
    process(tmp_path, cgroup="0::/system.slice/ssh.service")
    assert listening_port.observe(17, ID, [4002], proc=tmp_path) is None


@pytest.mark.parametrize("pid", [0, 18])
def test_a_process_that_is_not_there_is_not_observed(tmp_path: Path, pid: int) -> None:
    process(tmp_path)
    assert listening_port.observe(pid, ID, [4002], proc=tmp_path) is None


def test_sockets_that_may_not_be_read_are_not_observed(tmp_path: Path) -> None:
    process(tmp_path, four=None)
    assert listening_port.observe(17, ID, [4002], proc=tmp_path) is None


def test_the_health_check_must_agree_after_its_pause_and_its_limit() -> None:
    facts = listening_port.watched('4711 {"Test":["CMD-SHELL","x"],"Interval":10000000000,"Timeout":5000000000}\n')
    assert (facts.pid, facts.interval, facts.timeout) == (4711, 10, 5)
    assert facts.agrees_within == 15 + listening_port.MARGIN_SECONDS


@pytest.mark.parametrize("document", ["null", "{}", '{"Interval": 0, "Timeout": 0}'])
def test_the_engine_s_own_values_hold_where_none_is_named(document: str) -> None:
    facts = listening_port.watched(f"1 {document}")
    assert (facts.interval, facts.timeout) == (30, 30)
