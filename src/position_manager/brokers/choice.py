"""Which broker and which calendar a configuration asks for."""

from __future__ import annotations

from position_manager.brokers.broker import Broker
from position_manager.clock import Clock
from position_manager.config.schema import Config, Mode
from position_manager.config.sim import Sim
from position_manager.paths import Paths
from position_manager.sessions.fallback_calendar import FallbackCalendar


class BrokerFaultError(Exception):
    """The broker is unavailable until a person fixes something; the message states what."""


def broker_of(config: Config, paths: Paths, clock: Clock) -> Broker:
    """The simulated broker in mode sim, else the gateway. Raises BrokerFaultError."""
    # Only what a mode needs is loaded.
    if config.mode is Mode.SIM:
        from position_manager.brokers.sim_broker import SimBroker, SimStateError

        try:
            return SimBroker(config.sim or Sim(), paths.simulated, clock=clock, client_id=config.gateway.client_id)
        except SimStateError as error:
            raise BrokerFaultError(str(error)) from error
    from position_manager.brokers.ib_broker import IbBroker

    return IbBroker(config, clock)


def fallback_of(config: Config) -> FallbackCalendar | None:
    """The calendar of an exchange for which the broker reports no hours; it must be kept loaded."""
    name = config.hours.fallback_calendar
    return None if name is None else FallbackCalendar(name)
