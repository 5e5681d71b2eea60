"""What an upgrade finds in the journal and the day book: a field that is renamed in the code stays as it is there."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from position_manager.account.stops import AccountMemory
from position_manager.engine.cooldown import Cooling
from position_manager.engine.worthless_wings import Left
from position_manager.orders.closing import Closing
from position_manager.reports.day_book import Sample
from position_manager.rules.evaluation import Memory
from position_manager.rules.unprotected import Unprotected

CLOSING = (
    '{"unit":"DU1 contract 42","name":"SPY 450P","account":"DU1","rule":"stop","text":"bid 1.20",'
    '"decided":"2026-11-20T15:00:00Z","legs":{"42":"-2"},'
    '"ladders":{"42":{"begun":"2026-11-20T15:00:00Z","reference":"1.25"}},"prices":{"42":"1.30"},'
    '"by":"ann","episodes":{"42":"A"},"worthless":{"42":"0.05"},"leaves":{"42":"-1"},"level":1,'
    '"combo":{"42":"1"},"direction":-1,"combo_seconds":30.0}'
)
COOLING = (
    '{"since":"2026-11-20T15:00:00Z","rule":"stop","label":"SPY","known":{"42":"A"},'
    '"seen":{"43":"B"},"begun":"2026-11-20T15:00:00Z"}'
)
MEMORY = (
    '{"direction":-1,"recent":["1.2"],"recent_at":"2026-11-20T15:00:00Z","best":"1.1","trail":"1.4",'
    '"trail_rule":"trailing 20 %","breakeven":"breakeven 10 %","sightings":[{"rule":"stop",'
    '"count":1,"at":"2026-11-20T15:00:00Z"}],"episode":"A","levels":[1]}'
)
UNPROTECTED = (
    '{"seconds":{"no quote":2.5},"state":"no quote","looked_at":"2026-11-20T15:00:00Z","since":"2026-11-20T15:00:00Z"}'
)
ACCOUNT_MEMORY = (
    '{"currency":"USD","day":"2026-11-20","day_start":"100","day_start_at":"2026-11-20T15:00:00Z",'
    '"best":"110","best_at":"2026-11-20T15:00:00Z","day_transfer":"1","best_transfer":"2",'
    '"last":"99","last_cash":"50","last_at":"2026-11-20T15:00:00Z","held":"42:-2",'
    '"fired":{"daily_loss":{"rule":"daily_loss","action":"close","at":"2026-11-20T15:00:00Z",'
    '"text":"lost 5 %"}},"targets":{"42":"A"},"unarmed":["drawdown"],"other_currency":"EUR",'
    '"sightings":{}}'
)
LEFT = '{"episode":"A","bound":"0.05"}'
SAMPLE = '{"time":"2026-11-20T15:00:00Z","profit":{"USD":"1.5"},"close":"2026-11-20T15:00:00Z","told":true}'


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Closing, CLOSING),
        (Cooling, COOLING),
        (Memory, MEMORY),
        (Unprotected, UNPROTECTED),
        (AccountMemory, ACCOUNT_MEMORY),
    ],
)
def test_what_an_older_release_wrote_is_read_and_written_as_it_is(
    kind: type[Closing | Cooling | Memory | Unprotected | AccountMemory], text: str
) -> None:
    assert kind.from_json(text).to_json() == text


@pytest.mark.parametrize(("kind", "text"), [(Left, LEFT), (Sample, SAMPLE)])
def test_so_are_a_wing_that_was_left_and_a_sample_of_the_day(kind: type[Left | Sample], text: str) -> None:
    stored: TypeAdapter[Left | Sample] = TypeAdapter(kind)
    assert stored.dump_json(stored.validate_json(text), exclude_none=True).decode() == text
