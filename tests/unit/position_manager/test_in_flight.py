"""While an order is on its way, nothing else takes time."""

from __future__ import annotations

import gc

from position_manager.engine.in_flight import InFlight


def test_no_garbage_is_collected_while_an_order_is_on_its_way() -> None:
    in_flight, first, second = InFlight(), ("DU1", 1), ("DU1", 2)
    assert gc.isenabled()
    try:
        in_flight.add([first])
        in_flight.add(iter([second]))
        in_flight.remove([first])
        assert in_flight
        assert not gc.isenabled()
        in_flight.remove([second])
        assert not in_flight
        assert gc.isenabled()
        in_flight.remove([second])
        in_flight.add([])
        assert gc.isenabled()
        in_flight.add([first, second])
        in_flight.clear()
        assert not in_flight
        assert gc.isenabled()
    finally:
        gc.enable()
