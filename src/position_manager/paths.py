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

    def journal(self, mode: str) -> Path:
        """The journal of a mode: what was done in one gives no information about another."""
        return self.state / f"journal-{mode}.db"

    @property
    def newest_journal(self) -> Path:
        """That of the mode which is, or was last, in use; a name that is not there if there is none."""
        found = sorted(self.state.glob("journal-*.db"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found else self.state / "journal.db"

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
    def status_socket(self) -> Path:
        """Answers with the status, and does nothing else: for the status page, which must not be able to act."""
        return self.runtime / "status.sock"

    @property
    def halts(self) -> Halts:
        return Halts(KillSwitch(self.kill_switch), HaltRecord(self.halt_record))
