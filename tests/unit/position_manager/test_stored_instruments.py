"""What is known of contracts outlasts a restart; hours do only on the day on which they were reported."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.unit.position_manager.engine_world import ACCOUNT, Manager, put, short_puts
from tests.unit.position_manager.journal_samples import CALL, PUT, Day

from position_manager.brokers.broker import DetailsReceived
from position_manager.journal import stored_instruments
from position_manager.model import Hours

NEW_YORK = ZoneInfo("America/New_York")
MORNING = datetime(2026, 11, 23, 9, 0, tzinfo=NEW_YORK)
SESSION = Hours(datetime(2026, 11, 23, 9, 30, tzinfo=NEW_YORK), datetime(2026, 11, 23, 16, 0, tzinfo=NEW_YORK))
NEXT = Hours(SESSION.begin + timedelta(days=1), SESSION.end + timedelta(days=1))


def test_hours_count_on_the_day_on_which_they_were_received(tmp_path: Path) -> None:
    journal = Day(tmp_path / "journal.db").journal
    told = {each.con_id: each for each in (replace(PUT, liquid_hours=(SESSION, NEXT)), CALL)}
    stored_instruments.store_changes(journal, told.values(), {}, MORNING)
    assert stored_instruments.recall(journal, MORNING.replace(hour=23)) == told, "though it is the next day in London"
    other_day = stored_instruments.recall(journal, MORNING + timedelta(hours=15))
    assert other_day == {each.con_id: replace(each, liquid_hours=()) for each in told.values()}
    assert stored_instruments.read(journal) == other_day
    journal.close()


def test_what_has_not_changed_is_not_written_again(tmp_path: Path) -> None:
    journal = Day(tmp_path / "journal.db").journal
    told = replace(PUT, liquid_hours=(SESSION,))
    stored_instruments.store_changes(journal, [told], {}, MORNING)
    later = MORNING + timedelta(days=1)
    stored_instruments.store_changes(journal, [told], {told.con_id: told}, later)
    assert stored_instruments.recall(journal, later)[told.con_id].liquid_hours == ()
    anew = replace(told, liquid_hours=(NEXT,))
    stored_instruments.store_changes(journal, [anew], {told.con_id: told}, later)
    assert stored_instruments.recall(journal, later) == {told.con_id: anew}
    journal.close()


def test_the_next_process_gives_the_broker_what_it_knows_and_asks_again_when_more_is_shown(tmp_path: Path) -> None:
    async def story() -> None:
        at = short_puts()
        manager = Manager(at, tmp_path)
        await manager.start()
        await manager.end()
        again = Manager(at, tmp_path)
        await again.start()
        assert again.broker.known == {42: put(42)}
        at.instruments[42] = more = replace(put(42), liquid_hours=(*put(42).liquid_hours, NEXT))
        again.broker.emit(DetailsReceived())
        await at.clock.advance(1)
        assert again.engine.shared.guard.positions[ACCOUNT, 42].instrument == more
        await again.end()

    asyncio.run(story())
