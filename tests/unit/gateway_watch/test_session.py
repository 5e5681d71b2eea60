"""What is remembered of a session, and what a restart of it costs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from gateway_watch import session
from gateway_watch.session import Session

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
TUESDAY = datetime(2026, 11, 24, 7, tzinfo=UTC)


def test_a_restart_with_the_kept_session_keeps_its_start() -> None:
    first = Session(last_cause="exited").became_ready(MONDAY, full_login=True, twofa=True)
    again = first.became_ready(TUESDAY, full_login=False, twofa=False)
    assert (again.since, again.twofa, again.last_restart, again.last_cause) == (MONDAY, True, TUESDAY, None)
    anew = again.became_ready(TUESDAY, full_login=True, twofa=False)
    assert (anew.since, anew.twofa) == (TUESDAY, False)


def test_a_login_by_codes_needs_a_person_the_next_time_without_them() -> None:
    coded = Session().became_ready(MONDAY, full_login=True, twofa=False, codes=True)
    kept = coded.became_ready(TUESDAY, full_login=False, twofa=False)
    assert (kept.twofa, kept.codes) == (False, True)
    assert (kept.without_codes().twofa, kept.without_codes().codes) == (True, False)
    for other in (Session(), Session().became_ready(MONDAY, full_login=True, twofa=False)):
        assert other.without_codes() == other


def test_the_cost_is_shown_only_of_an_approved_session() -> None:
    approved = Session().became_ready(MONDAY, full_login=True, twofa=True)
    assert "The session of paper was approved by 2FA at 2026-11-23 12:00 UTC" in approved.restart_cost("paper")
    assert Session().became_ready(MONDAY, full_login=True, twofa=False).restart_cost("paper") == ""
    assert Session().restart_cost("paper") == ""


def test_it_is_stored(tmp_path: Path) -> None:
    kept = Session(MONDAY, True, TUESDAY, "exited", "/x.png", 4, codes=True)
    session.write(tmp_path / "session.json", kept)
    assert session.read(tmp_path / "session.json") == kept


def test_a_damaged_or_missing_file_is_an_empty_session(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    assert session.read(path) == Session()
    for content in (
        "{",
        "[]",
        "{}",
        '{"since": 1, "last_restart": null}',
        '{"since": null, "last_restart": null, "x": 1}',
    ):
        path.write_text(content)
        assert session.read(path) == Session(), content
