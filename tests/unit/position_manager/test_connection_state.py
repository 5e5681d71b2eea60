"""How each event changes the connection, and that only READY may send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_watch.session_calendar import NEW_YORK
from position_manager.connection_state import (
    REACTIONS,
    RESET,
    RESTART,
    STEPS,
    About,
    Action,
    Alert,
    ApiCode,
    AuthNeeded,
    Connection,
    ConnectLater,
    DoubtQuotes,
    Event,
    FullSync,
    HaltAll,
    LiveAgain,
    OrdersOutOfSight,
    Page,
    Patience,
    Phase,
    Reaction,
    Recovered,
    Resubscribe,
    Resumed,
    ResumePrices,
    SessionVerified,
    SocketDown,
    SocketUp,
    Step,
    SuspendPrices,
    SyncDone,
    SyncDue,
    SyncFailed,
    SyncLater,
    Tick,
    after,
    farm_of,
    initial,
    patience_with_restart,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=NEW_YORK)
PATIENCE = Patience()


class Line:
    """A connection that is led through events; ``did`` holds the actions of the last one."""

    def __init__(self, now: datetime = NOON, patience: Patience = PATIENCE) -> None:
        self.now = now
        self.patience = patience
        self.connection = initial(now, patience)
        self._actions: tuple[Action, ...] = ()

    def receive(self, *events: Event, later: float = 0) -> Connection:
        self.now += timedelta(seconds=later)
        for event in events:
            self.connection, self._actions = after(self.connection, event, self.now, self.patience)
        return self.connection

    def code(self, code: int, text: str = "", subject: str = "", later: float = 0) -> Connection:
        return self.receive(ApiCode(code, text, subject), later=later)

    def sync(self) -> Connection:
        for step in STEPS:
            self.receive(SyncDone(self.connection.sync, step))
        return self.connection

    def ready(self) -> Line:
        self.receive(SocketUp(), SessionVerified())
        self.sync()
        assert self.connection.may_send
        return self

    def did(self) -> tuple[Action, ...]:
        return self._actions

    def reported(self, *kinds: type) -> list[Action]:
        return [action for action in self._actions if isinstance(action, kinds)]


def test_the_way_to_ready() -> None:
    line = Line()
    seen = [line.connection.phase]
    events: list[Event] = [SocketUp(), SessionVerified(), *(SyncDone(1, step) for step in STEPS)]
    for event in events:
        seen.append(line.receive(event).phase)
    assert seen == [Phase.DOWN, Phase.SOCKET, *[Phase.SYNCING] * 4, Phase.READY]
    assert line.reported(Recovered, Alert, Page) == []


def test_a_sync_counts_step_by_step_and_only_its_own_answers() -> None:
    line = Line()
    line.receive(SocketUp(), SessionVerified())
    assert line.did() == (FullSync(1),)
    line.receive(*(SyncDone(1, step) for step in reversed(STEPS)))
    assert line.connection.pending == STEPS[1:]
    line.receive(SyncFailed(1, Step.OPEN_ORDERS, "timeout"))
    assert line.reported(SyncLater) == [SyncLater("open orders could not be read: timeout")]
    line.receive(SyncDue())
    assert line.did() == (FullSync(2),)
    line.receive(*(SyncDone(1, step) for step in STEPS))  # answers that came late
    assert not line.connection.may_send
    assert line.sync().may_send


def test_a_periodic_sync_keeps_ready_until_it_fails() -> None:
    line = Line().ready()
    assert line.receive(SyncDue()).may_send
    assert line.did() == (FullSync(2),)
    assert line.receive(SyncDue()).sync == 2  # one at a time
    assert line.receive(SyncFailed(2, Step.POSITIONS, "timeout")).phase is Phase.SYNCING
    assert line.reported(Alert) == [Alert("positions could not be read: timeout")]
    line.receive(SyncDue())
    line.sync()
    assert line.reported(Recovered) == [Recovered("READY again after 0 s")]


@pytest.mark.parametrize("code", [1100, 2110])
def test_the_lost_link_is_latched_and_reported_once(code: int) -> None:
    line = Line().ready()
    assert line.code(code, "lost").phase is Phase.LINK_LOST
    assert line.did() == (DoubtQuotes(), OrdersOutOfSight(f"{code} lost"), Alert(f"{code} lost"))
    for _ in range(50):
        assert line.code(1100, later=1).phase is Phase.LINK_LOST
        assert line.did() == ()
    assert line.code(2104, "ok:usfarm").phase is Phase.LINK_LOST  # 2104 does not mean connected
    assert line.receive(SyncDue()).phase is Phase.LINK_LOST
    line.receive(SocketDown("closed"))
    assert line.code(code).phase is Phase.DOWN


@pytest.mark.parametrize(("code", "first"), [(1101, (Resubscribe(),)), (1102, ())])
def test_the_link_comes_back_through_a_full_sync(code: int, first: tuple[Action, ...]) -> None:
    line = Line().ready()
    line.code(1100)
    assert line.code(code, later=60).phase is Phase.SYNCING
    assert line.did() == (*first, FullSync(2))
    assert line.sync().may_send
    assert line.reported(Recovered) == [Recovered("READY again after 60 s")]


@pytest.mark.parametrize("code", [1101, 1102])
def test_a_link_that_came_back_without_having_been_lost_is_synced_too(code: int) -> None:
    line = Line().ready()
    assert line.code(code).phase is Phase.SYNCING
    assert line.reported(OrdersOutOfSight, FullSync) == [OrdersOutOfSight(str(code) + " "), FullSync(2)]
    assert Line().code(1102).phase is Phase.DOWN


def test_a_link_lost_before_the_session_was_verified() -> None:
    line = Line()
    line.receive(SocketUp())
    line.code(1100)
    assert line.code(1102).phase is Phase.SOCKET
    assert line.receive(SessionVerified()).phase is Phase.SYNCING
    line.code(1100)
    line.receive(SessionVerified())
    assert line.connection.phase is Phase.LINK_LOST


def test_answers_of_a_sync_that_the_lost_link_cut_off_do_not_make_it_ready() -> None:
    line = Line()
    line.receive(SocketUp(), SessionVerified())
    line.code(1100)
    assert line.receive(*(SyncDone(1, step) for step in STEPS)).phase is Phase.LINK_LOST


def test_farms_degrade_the_data_and_not_the_link() -> None:
    line = Line().ready()
    for code in (2103, 2105):
        line.code(code, "Market data farm connection is broken:usfarm")
    connection = line.code(2157, "Sec-def data farm connection is broken:secdefnj")
    assert connection.degraded == {"usfarm", "secdefnj"}
    assert connection.may_send
    line.code(2103, "Market data farm connection is broken:usfarm")
    assert line.did() == ()
    line.code(2104, "Market data farm connection is OK:usfarm")
    assert line.did() == (Recovered("2104 Market data farm connection is OK:usfarm", About.FARM, "usfarm"),)
    assert line.connection.degraded == {"secdefnj"}


def test_the_farm_is_at_the_end_of_the_text() -> None:
    assert farm_of("HMDS data farm connection is inactive but should be available upon demand.ushmds") == "ushmds"
    assert farm_of("nothing here ") == "nothing here "


@pytest.mark.parametrize("code", [354, 10089, 10167, 10168, 10197])
def test_no_live_quote_suspends_prices_and_is_reported_once(code: int) -> None:
    line = Line().ready()
    line.code(code, "no data", "42")
    assert line.did() == (SuspendPrices("42", f"{code} no data"),)
    line.code(code, "no data", "42")
    assert line.did() == (SuspendPrices("42", f"{code} no data", first=False),)
    assert line.connection.may_send
    line.receive(LiveAgain("42"))
    assert line.did() == (ResumePrices("42"),)
    line.receive(LiveAgain("42"))
    assert line.did() == ()


@pytest.mark.parametrize("code", [502, 504])
def test_not_connected_backs_off(code: int) -> None:
    line = Line().ready()
    assert line.code(code, "Not connected").phase is Phase.DOWN
    assert line.reported(ConnectLater) == [ConnectLater()]
    assert line.reported(OrdersOutOfSight)


def test_the_same_client_id_for_two_minutes_then_a_page() -> None:
    line = Line()
    line.receive(SocketUp())
    line.code(326, "in use")
    line.receive(SocketDown("closed"))
    assert line.reported(ConnectLater) == [ConnectLater(same_id_soon=True)]
    line.code(326, "in use", later=119)
    assert line.reported(Page) == []
    line.receive(Tick(), later=1)
    assert [page for page in line.reported(Page) if isinstance(page, Page) and "client id" in page.text]
    line.receive(Tick(), later=60)
    assert line.reported(Page) == []
    line.ready()
    line.receive(SocketDown("closed"))
    assert line.reported(ConnectLater) == [ConnectLater()]


def test_321_halts_until_a_person_resumes() -> None:
    line = Line().ready()
    assert line.code(321, "read-only").phase is Phase.HALTED
    assert line.did() == (HaltAll("321 read-only"), Page("halted: 321 read-only", About.HALT))
    line.code(321, "again")
    assert line.did() == ()
    line.receive(SocketDown("x"))
    line.receive(SocketUp(), SessionVerified())
    assert line.sync().phase is Phase.HALTED
    assert not line.connection.may_send
    assert line.receive(Resumed()).phase is Phase.SYNCING
    assert line.did() == (FullSync(3),)
    assert line.sync().may_send


def test_a_halt_outlasts_a_restart_of_the_program() -> None:
    assert initial(NOON, PATIENCE, "321").phase is Phase.HALTED


def test_lean_262_a_missed_second_factor_is_reported() -> None:
    line = Line().ready()
    assert line.receive(AuthNeeded("second factor")).phase is Phase.AUTH_NEEDED
    assert line.reported(Page) == [Page("the gateway needs a person: second factor", About.LOGIN)]
    line.receive(AuthNeeded("second factor"), SocketDown("closed"))
    assert line.connection.phase is Phase.AUTH_NEEDED
    assert line.reported(Page) == []
    line.receive(SocketUp(), SessionVerified())
    line.sync()
    assert line.connection.may_send
    assert line.reported(Recovered)


def test_lean_246_blind_is_never_healthy() -> None:
    line = Line().ready()
    line.receive(SocketDown("closed"))
    assert line.reported(Alert) == [Alert("closed")]
    line.receive(Tick(), later=599)
    assert line.reported(Page) == []
    line.receive(Tick(), later=1)
    assert line.reported(Page) == [Page("not READY for 10 minutes: DOWN")]
    line.receive(Tick(), later=3600)
    assert line.reported(Page) == []


def test_a_gateway_that_is_not_there_at_the_start_pages_too() -> None:
    line = Line()
    line.receive(Tick(), later=600)
    assert line.reported(Page) == [Page("not READY for 10 minutes: DOWN")]


def night(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 11, 24, hour, minute, second, tzinfo=NEW_YORK)


def test_the_daily_restart_is_maintenance_until_ready() -> None:
    line = Line(night(1, 57)).ready()
    assert line.receive(Tick(), later=59).may_send
    assert line.receive(Tick(), later=1).phase is Phase.MAINTENANCE
    assert not line.connection.may_send
    line.receive(SocketDown("restart"), later=125)
    assert line.reported(Alert, Page) == []
    line.receive(SocketUp(), SessionVerified(), later=40)
    assert line.connection.phase is Phase.MAINTENANCE
    assert line.sync().phase is Phase.READY
    assert line.receive(Tick(), later=1).phase is Phase.READY  # 02:03, once a night is enough


def test_a_restart_that_does_not_come_back_pages_after_ten_minutes() -> None:
    line = Line(night(1, 57)).ready()
    line.receive(Tick(), later=60)
    line.receive(SocketDown("restart"), later=120)
    line.receive(Tick(), later=479)
    assert line.reported(Page) == []
    line.receive(Tick(), later=1)
    assert line.reported(Page) == [Page("not READY for 8 minutes: MAINTENANCE")]
    line.receive(SocketUp(), SessionVerified())
    assert line.sync().may_send
    assert line.reported(Recovered)


def test_a_restart_that_never_came_ends_with_its_window() -> None:
    line = Line(night(1, 57)).ready()
    assert line.receive(Tick(), later=60 + 599).phase is Phase.MAINTENANCE
    assert line.receive(Tick(), later=1).may_send


def test_ready_before_the_restart_stays_frozen() -> None:
    line = Line(night(1, 57))
    line.receive(SocketUp(), SessionVerified(), later=70)
    assert line.sync().phase is Phase.MAINTENANCE
    line.receive(SocketDown("restart"), later=115)
    line.receive(SocketUp(), SessionVerified(), later=40)
    assert line.sync().may_send


def test_the_nightly_reset_is_not_reported_and_pages_at_its_end() -> None:
    line = Line(datetime(2026, 11, 23, 23, 50, tzinfo=NEW_YORK)).ready()
    line.code(1100)
    assert line.reported(Alert, Page) == []
    assert line.connection.phase is Phase.LINK_LOST
    line.receive(Tick(), later=54 * 60)
    assert line.reported(Page) == []
    line.receive(Tick(), later=60)
    assert line.reported(Page) == [Page("not READY for 55 minutes: LINK_LOST")]


def test_an_outage_from_before_a_window_waits_for_its_end() -> None:
    line = Line(datetime(2026, 11, 23, 23, 40, tzinfo=NEW_YORK)).ready()
    line.code(1100)
    line.receive(Tick(), later=600)
    assert line.reported(Page) == []
    line.receive(Tick(), later=55 * 60)
    assert line.reported(Page)


def test_windows_in_the_nights_when_clocks_change() -> None:
    spring = datetime(2026, 3, 8, 6, 59, tzinfo=UTC)  # 01:59 EST, a minute before 03:00 EDT
    span = RESTART.span(spring)
    assert span is not None
    assert (span.begin, span.end) == (spring - timedelta(minutes=1), spring + timedelta(minutes=9))
    assert RESTART.span(datetime(2026, 3, 8, 7, 8, tzinfo=UTC)) is None
    reset = RESET.span(datetime(2026, 11, 24, 5, 30, tzinfo=UTC))  # 00:30, started the day before
    assert reset is not None
    assert reset.begin == datetime(2026, 11, 24, 4, 45, tzinfo=UTC)


def test_every_listed_code_has_its_reaction() -> None:
    listed = {1100, 2110, 1101, 1102, 2103, 2105, 2157, 2104, 2106, 2158, 2107, 2108, 2109, 502, 504, 326}
    listed |= {354, 10089, 10167, 10168, 10197, 321}
    assert set(REACTIONS) == listed
    line = Line().ready()
    ready = line.connection
    assert REACTIONS[2109] is Reaction.NONE
    for code in (2109, 2107, 399, 12345):
        assert line.code(code, "x") == ready
        assert line.did() == ()


@pytest.mark.parametrize("code", [321, 200, 101, 10186, 12345])
def test_any_code_about_a_subscription_suspends_that_contract_alone(code: int) -> None:
    line = Line().ready()
    line.code(code, "x", "42")
    assert line.did() == (SuspendPrices("42", f"{code} x"),)
    assert line.connection.may_send


@pytest.mark.parametrize(
    "text",
    [
        "Error validating request.-'bW' : cause - The price does not conform to the minimum price variation",
        "Error validating request.-'bH' : cause - Invalid contract id",
        "Error validating request: cause - Please enter a valid symbol",
    ],
)
def test_a_321_about_one_request_halts_nothing(text: str) -> None:
    line = Line().ready()
    line.code(321, text)
    assert line.did() == ()
    assert line.connection.may_send


@pytest.mark.parametrize(
    "text",
    [
        "Error validating request.-'cd' : cause - The API interface is currently in Read-Only mode.",
        "Error validating request: the account has no trading permission for the API",
    ],
)
def test_a_321_about_the_account_halts(text: str) -> None:
    line = Line().ready()
    line.code(321, text)
    assert not line.connection.may_send
    assert line.reported(HaltAll)


EVENTS = st.one_of(
    st.sampled_from([SocketUp(), SocketDown("x"), SessionVerified(), SyncDue(), AuthNeeded("x"), Tick(), Resumed()]),
    st.sampled_from(sorted(REACTIONS)).map(lambda code: ApiCode(code, "x:farm", "42")),
    st.sampled_from(["done", "failed"]),
)


@given(events=st.lists(st.tuples(EVENTS, st.sampled_from([0, 1, 60, 3600]))))
def test_ready_means_that_a_whole_sync_came_after_the_last_loss(events: list[tuple[object, int]]) -> None:
    line = Line()
    steps_since_loss = 0
    for event, later in events:
        before = line.connection
        if event == "done":
            step = before.pending[0] if before.pending else Step.POSITIONS
            line.receive(SyncDone(before.sync, step), later=later)
            steps_since_loss += 1
        elif event == "failed":
            line.receive(SyncFailed(before.sync, Step.POSITIONS, "x"), later=later)
        else:
            line.receive(event, later=later)  # type: ignore[arg-type]  # the strings are taken out above
        if line.reported(OrdersOutOfSight) or line.connection.link in (Phase.DOWN, Phase.SOCKET, Phase.LINK_LOST):
            steps_since_loss = 0
        if line.connection.may_send:
            assert steps_since_loss >= len(STEPS)
            assert line.connection.away_since is None
            assert line.connection == replace(line.connection, halted=None, maintenance=None)


@pytest.mark.parametrize(
    ("at", "zone", "restart"),
    [
        (time(23, 45), "Europe/Berlin", datetime(2026, 11, 24, 22, 45, tzinfo=UTC)),
        (time(0, 1), "Europe/Berlin", datetime(2026, 11, 23, 23, 1, tzinfo=UTC)),
        (time(2), "America/New_York", datetime(2026, 11, 24, 7, tzinfo=UTC)),
        # 02:30 does not exist on the day that summer time starts; the gateway restarts an hour later by the clock.
        (time(2, 30), "America/New_York", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
        # Two minutes before 03:00 do not exist either, and are two minutes all the same.
        (time(3), "America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
        # 02:00 comes after an hour that comes twice.
        (time(2), "America/New_York", datetime(2026, 11, 1, 7, tzinfo=UTC)),
        (time(2, 30), "Europe/Berlin", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ],
)
def test_the_window_lies_around_the_gateway_s_own_restart(at: time, zone: str, restart: datetime) -> None:
    window = patience_with_restart(at, ZoneInfo(zone)).windows[0]
    minute = timedelta(minutes=1)
    for moment in (restart - 2 * minute, restart, restart + 8 * minute - timedelta(seconds=1)):
        span = window.span(moment)
        assert span is not None
        assert (span.begin, span.end, span.frozen_until) == (restart - 2 * minute, restart + 8 * minute, restart)
    assert window.span(restart - 3 * minute) is None
    assert window.span(restart + 8 * minute) is None


@pytest.mark.parametrize(
    ("at", "zone", "restart"),
    [
        (time(13), "America/New_York", datetime(2026, 11, 29, 18, tzinfo=UTC)),
        # A Sunday in Berlin is still a Saturday in UTC.
        (time(0, 1), "Europe/Berlin", datetime(2026, 11, 28, 23, 1, tzinfo=UTC)),
        # 02:30 does not exist on this Sunday; the gateway restarts an hour later by the clock.
        (time(2, 30), "America/New_York", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
    ],
)
def test_the_sunday_restart_has_a_window_on_sundays_only(at: time, zone: str, restart: datetime) -> None:
    patience = patience_with_restart(time(2), ZoneInfo(zone), at)
    (window,) = [window for window in patience.windows if window.when.weekday is not None]
    minute = timedelta(minutes=1)
    for moment in (restart - 2 * minute, restart, restart + 15 * minute - timedelta(seconds=1)):
        span = window.span(moment)
        assert span is not None
        assert (span.begin, span.end, span.frozen_until) == (restart - 2 * minute, restart + 15 * minute, restart)
    assert window.span(restart - 3 * minute) is None
    assert window.span(restart + 15 * minute) is None
    for days in range(1, 7):
        assert window.span(restart + timedelta(days=days)) is None


def test_nothing_is_sent_before_the_sunday_restart_and_nobody_is_paged_in_its_window() -> None:
    patience = patience_with_restart(time(2), NEW_YORK, time(13))
    sunday = datetime(2026, 11, 29, 17, 58, tzinfo=UTC)
    line = Line(sunday - timedelta(minutes=1), patience).ready()
    assert line.connection.phase is Phase.READY
    assert line.receive(Tick(), later=60).phase is Phase.MAINTENANCE
    line.receive(SocketDown("gone"), later=150)
    line.receive(Tick(), later=13 * 60)
    assert line.reported(Page) == []
    line.receive(Tick(), later=120)
    assert line.reported(Page)


def test_the_default_window_is_that_of_the_gateway_s_default_restart() -> None:
    assert patience_with_restart(time(2), NEW_YORK) == Patience()
