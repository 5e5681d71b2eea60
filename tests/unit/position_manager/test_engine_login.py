"""A gateway that waits for a person is a state with a name, reported once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.unit.position_manager.engine_world import BEGIN, CONFIG, Manager, ManualClock, World, put

from host_service import gateway_login
from host_service.gateway_login import GatewayLogin
from position_manager.connection_state import Phase


def test_an_approval_that_is_awaited_is_named_and_ends_with_the_next_session(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.hold(put(42), -2)
        at.up = False
        gateway_login.write(tmp_path, GatewayLogin("awaiting_2fa", True, "approve the login on the phone"))
        config = {**CONFIG, "gateway": {"login_file": str(tmp_path / gateway_login.NAME)}}
        manager = Manager(at, tmp_path, config)
        await manager.start()
        await at.clock.advance(60)
        assert manager.engine.shared.connection.state.phase is Phase.AUTH_NEEDED
        pages = [message for message in manager.reported if message.kind == "page"]
        assert len(pages) == 1
        assert "approve the login on the phone" in pages[0].text()
        gateway_login.write(tmp_path, GatewayLogin("ready", False, "ready"))
        at.up = True
        await at.clock.advance(120)
        assert manager.engine.ready
        await manager.end()

    asyncio.run(story())


def test_nobody_is_called_while_the_gateway_only_starts(tmp_path: Path) -> None:
    async def story() -> None:
        at = World(ManualClock(BEGIN))
        at.up = False
        gateway_login.write(tmp_path, GatewayLogin("starting", False, "starting the container"))
        manager = Manager(at, tmp_path, {**CONFIG, "gateway": {"login_file": str(tmp_path / gateway_login.NAME)}})
        await manager.start()
        await at.clock.advance(120)
        assert manager.engine.shared.connection.state.phase is Phase.DOWN
        assert "page" not in manager.kinds
        await manager.end()

    asyncio.run(story())
