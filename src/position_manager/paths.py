"""Where the files of one position manager are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from position_manager.halt import HaltRecord, Halts, KillSwitch

DEFAULT_NAME = "position-manager"

CONFIG_ROOT = Path("/etc/position-manager")
STATE_ROOT = Path("/var/lib/position-manager")
RUNTIME_ROOT = Path("/run/position-manager")


@dataclass(frozen=True)
class Paths:
    """The configuration's file, the directory that outlasts a restart of the host, and the one that does not."""

    config: Path
    state: Path
    runtime: Path

    @classmethod
    def of(cls, name: str) -> Paths:
        """Those of an instance."""
        return cls(CONFIG_ROOT / f"{name}.yml", STATE_ROOT / name, RUNTIME_ROOT / name)

    @property
    def journal(self) -> Path:
        return self.state / "journal.db"

    @property
    def outbox(self) -> Path:
        return self.state / "outbox.db"

    @property
    def days(self) -> Path:
        """The directory of the profit through each day, and of its plots."""
        return self.state / "days"

    @property
    def simulated(self) -> Path:
        """The books of the simulated broker, in mode sim."""
        return self.state / "simulated.json"

    @property
    def halt_record(self) -> Path:
        return self.state / "halt.json"

    @property
    def kill_switch(self) -> Path:
        return self.state / "HALT"

    @property
    def socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def halts(self) -> Halts:
        return Halts(KillSwitch(self.kill_switch), HaltRecord(self.halt_record))
