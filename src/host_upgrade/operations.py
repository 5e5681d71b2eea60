"""One step of an upgrade on the host: inspect it, start, restore what was before, end with a record.

Between two steps the roles change the host. A run may be killed anywhere: the state is written before each change that
needs it, and each step may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import decision, restoration
from .decision import Decision, Facts, GatewayFacts, Step
from .inspection import Host, Inspection
from .model import Deployment, Kind, Outcome, Phase, Record, SavedFile, State, Tiers
from .store import KEPT_RECORDS, Store


class UpgradeError(Exception):
    """A step that cannot be done; the message states why, and what to do."""


@dataclass(frozen=True)
class Wanted:
    """The settings: the release, and each gateway with its image, the image's archive, mode and ports; the managers,
    and the gateways and managers that a deploy removes."""

    release: str
    gateways: Sequence[Mapping[str, Any]]
    managers: Sequence[str]
    removed: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        return [str(gateway["name"]) for gateway in self.gateways]

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.release, {str(gateway["name"]): str(gateway["image"]) for gateway in self.gateways})

    @property
    def settings(self) -> list[GatewayFacts]:
        return [
            GatewayFacts(
                str(gateway["name"]),
                str(gateway["trading_mode"]),
                {str(api["mode"]): int(api["port"]) for api in gateway["apis"]},
            )
            for gateway in self.gateways
        ]


@dataclass(frozen=True)
class Plan:
    """What to do, why it must not be done, and the images that are to be fetched first."""

    step: Step
    text: str
    problems: tuple[str, ...] = ()
    fetch: tuple[str, ...] = ()


class Upgrades:
    """The steps, on one host."""

    def __init__(
        self,
        host: Host,
        inspection: Inspection,
        store: Store,
        write: Callable[[Path, bytes, int], None],
        now: Callable[[], datetime],
    ) -> None:
        self._host = host
        self._inspection = inspection
        self._store = store
        self._write = write
        self._now = now

    def plan_upgrade(self, wanted: Wanted, *, in_trading_hours: bool) -> Plan:
        """upgrade.yml. Raises UnusableStateError."""
        state = self._store.read()
        present = self._inspection.deployment(wanted.names)
        decided = decision.for_upgrade(state, present, wanted.deployment)
        unfinished = [] if state is not None and state.in_progress else self._unfinished(present)
        if decided.step is Step.NOTHING:
            return Plan(Step.REFUSE if unfinished else decided.step, decided.text, tuple(unfinished))
        if decided.step in (Step.GO_BACK, Step.FINISH_ROLLBACK):
            return self._plan_back(state, decided, wanted)
        # In an interrupted upgrade the files are partly new; what they were is in the state.
        facts = self._facts(wanted)
        problems = decision.upgrade_problems(
            facts,
            present if state is None or not state.in_progress else state.before,
            wanted.deployment,
            wanted.settings,
            self._now(),
            in_trading_hours=in_trading_hours or decided.step is Step.RESUME,
        )
        problems += [*unfinished, *self._restore_problems()]
        missing = tuple(image.name for image in facts.images if not image.on_host)
        lines = [decided.text, *(f"  {image} is fetched first" for image in missing), *_costs(facts.gateways)]
        if decided.step is Step.SWITCH and (already := decision.unverified(self._tiers(wanted))):
            lines.append(f"Not verified already: {'; '.join(already)}. A rollback could not be verified either.")
        return Plan(decided.step, "\n".join(lines), tuple(problems), missing)

    def plan_rollback(self, wanted: Wanted) -> Plan:
        """rollback.yml. Raises UnusableStateError."""
        state = self._store.read()
        decided = decision.for_rollback(state, self._inspection.deployment(wanted.names))
        if decided.step is Step.REFUSE:
            return Plan(decided.step, decided.text, (decided.text,))
        return (
            Plan(decided.step, decided.text)
            if decided.step is Step.NOTHING
            else self._plan_back(state, decided, wanted)
        )

    def plan_deploy(self, wanted: Wanted, parts: Collection[str], *, rejected_allowed: bool) -> Plan:
        """site.yml. Raises UnusableStateError."""
        state = self._store.read()
        decided = decision.for_deploy(state, wanted.deployment, parts, rejected_allowed=rejected_allowed)
        if decided.step is Step.FINISH_ROLLBACK:
            return self._plan_back(state, decided, wanted)
        return Plan(decided.step, decided.text, (decided.text,) if decided.step is Step.REFUSE else ())

    def _plan_back(self, state: State | None, decided: Decision, wanted: Wanted) -> Plan:
        if state is None:
            raise AssertionError("there is no way back without a state")
        images = [self._inspection.image(image) for image in sorted(set(state.before.images.values())) if image]
        complete = self._inspection.is_complete(state.before.release)
        # What another deploy has changed since; in an interrupted upgrade the settings are those of the upgrade.
        later = [self._inspection.gateway(name) for name in wanted.names] if state.phase is Phase.VERIFIED else []
        problems = decision.rollback_problems(
            images, state.before.release, complete, restoration.saved_gateways(state.files), wanted.settings, later
        )
        problems += self._restore_problems()
        costs = _costs(self._inspection.gateway(name) for name in state.before.images)
        return Plan(decided.step, "\n".join([decided.text, *costs]), tuple(problems))

    def _unfinished(self, present: Deployment) -> list[str]:
        return [
            f"{name} still runs another image than {image}, because its last deploy did not end. Run site.yml first, "
            "with that image."
            for name, image in present.images.items()
            if image and self._inspection.runs_other(name, image)
        ]

    def _restore_problems(self) -> list[str]:
        return [decision.UNFINISHED_RESTORE] if self._inspection.restore_is_unfinished() else []

    def _facts(self, wanted: Wanted) -> Facts:
        found = self._inspection
        archives = {str(gateway["image"]): str(gateway["image_archive"]) for gateway in wanted.gateways}
        used = found.deployment(wanted.names).images.values()
        managers = (found.manager(name) for name in wanted.managers)
        return Facts(
            gateways=[found.gateway(name) for name in wanted.names],
            images=[found.image(image, archive) for image, archive in archives.items()],
            managers=[manager for manager in managers if manager is not None],
            image_disk=found.disk(found.image_directory()),
            release_disk=found.disk(found.releases),
            release_installed=found.is_complete(wanted.release),
            used_image_bytes=found.used_image_bytes(used),
            missing=[name for name in wanted.managers if not found.has_unit(name)],
            removed=[name for name in wanted.removed if found.has_unit(name)],
        )

    def start(self, wanted: Wanted) -> State:
        """Save everything for the way back, before the first change. Raises UnusableStateError, OSError."""
        state = self._store.read()
        if state is not None and state.phase is Phase.SWITCHING:
            state = decision.resumed(state, wanted.deployment)
        else:
            managers = [path for name in wanted.managers for path in restoration.manager_files(name)]
            gateways = [path for name in wanted.names for path in restoration.gateway_files(name)]
            state = State(
                phase=Phase.SWITCHING,
                kind=Kind.UPGRADE,
                before=self._inspection.deployment(wanted.names),
                after=wanted.deployment,
                started=self._now(),
                files=restoration.save(self._host, [*gateways, *managers]),
                tiers_before=self._tiers(wanted),
            )
        self._store.write(state)
        return state

    def restore(self, wanted: Wanted, reason: str) -> State:
        """Restore the files and the release; the result names the units to restart in `restart`.

        Raises UpgradeError, UnusableStateError, OSError.
        """
        state = self._store.read()
        if state is None:
            raise UpgradeError("There is no state of an upgrade on this host, so there is nothing to restore.")
        if not self._inspection.is_complete(state.before.release):
            raise UpgradeError(
                f"The previous release {state.before.release} is not on the host any more. Run site.yml with "
                "-e host_upgrade_rejected_allowed=true."
            )
        differing = restoration.differing(self._host, state.files)
        switched = self._inspection.release() != state.before.release
        kept = {restoration.manager_configuration(name) for name in wanted.managers}
        differing = [file for file in differing if file.path not in kept or not self._accepts(state, file)]
        state = self._going_back(state, wanted, reason, differing, switched)
        self._store.write(state)
        restoration.restore(self._host, differing, self._write)
        releases = self._host.path(self._inspection.releases)
        if switched:
            restoration.link(releases / "previous", f"releases/{state.after.release}")
        restoration.link(releases / "current", f"releases/{state.before.release}")
        return state

    def _going_back(
        self, state: State, wanted: Wanted, reason: str, differing: Sequence[SavedFile], switched: bool
    ) -> State:
        owners = {*state.restart, *(file.owner for file in differing)}
        owners |= set(wanted.managers) if switched else set()
        # A gateway's watch is replaced with its container only: it may still be that of the previous release.
        owners |= (
            {name for name in state.before.images if self._runs_from(name, state.after.release)} if switched else set()
        )
        if state.phase is Phase.ROLLED_BACK:
            owners |= set(state.before.images)
        by_hand = state.phase is Phase.VERIFIED
        return replace(
            state,
            phase=Phase.ROLLING_BACK,
            kind=Kind.ROLLBACK if by_hand else state.kind,
            started=self._now() if by_hand else state.started,
            tiers_before=self._tiers(wanted) if by_hand else state.tiers_before,
            interruptions=0 if by_hand else state.interruptions + (state.phase is Phase.ROLLING_BACK),
            reason=state.reason if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK) else reason,
            restart=tuple(sorted(owners)),
        )

    def _runs_from(self, gateway: str, release: str) -> bool:
        return self._inspection.running_release(gateway) == release

    def _accepts(self, state: State, file: SavedFile) -> bool:
        """Whether the previous release reads the current configuration of the manager: rules changed since remain."""
        program = self._inspection.releases / "releases" / state.before.release / "bin" / "position-manager"
        return self._inspection.succeeds(str(self._host.path(program)), "check-config", str(self._host.path(file.path)))

    def finish(self, wanted: Wanted, *, verified: bool, kept: int = KEPT_RECORDS) -> Record | None:
        """Record the result, after the tiers were verified or were not. None if nothing has ended: nothing is in
        progress, or a deploy of a part has not verified the whole.

        Raises UnusableStateError, OSError.
        """
        state = self._store.read()
        if state is None:
            return None
        present = self._inspection.deployment(wanted.names)
        if not state.in_progress:
            if decision.rejected(state, present):
                # What was rolled back is deployed again, by a deploy that allows it.
                self._store.clear()
            elif verified and not state.verified and present == state.before:
                self._store.write(replace(state, verified=True, restart=()))
            return None
        restored = state.phase is Phase.ROLLING_BACK and present.covers(state.before)
        if not restored and not verified:
            return None
        if not restored:
            reached = state.phase is Phase.SWITCHING and present == state.after
            ended = self._ended(state, Outcome.VERIFIED if reached else Outcome.REPLACED, wanted)
            following = replace(state, phase=Phase.VERIFIED, reason="") if reached else None
        else:
            ended = self._ended(state, Outcome.ROLLED_BACK if verified else Outcome.NOT_VERIFIED, wanted)
            following = replace(
                state, phase=Phase.ROLLED_BACK, verified=verified, restart=() if verified else state.restart
            )
        self._store.add(ended, kept)
        if following is None:
            self._store.clear()
        else:
            self._store.write(following)
        return ended

    def _ended(self, state: State, outcome: Outcome, wanted: Wanted) -> Record:
        by_hand = state.kind is Kind.ROLLBACK
        return Record(
            kind=state.kind,
            before=state.after if by_hand else state.before,
            after=state.before if by_hand else state.after,
            started=state.started,
            ended=self._now(),
            outcome=Outcome.VERIFIED if by_hand and outcome is Outcome.ROLLED_BACK else outcome,
            reason=state.reason,
            interruptions=state.interruptions,
            tiers_before=state.tiers_before,
            tiers_after=self._tiers(wanted),
        )

    def _tiers(self, wanted: Wanted) -> Tiers:
        return self._inspection.tiers(wanted.names, wanted.managers)


def _costs(gateways: Any) -> list[str]:
    """What the restarts cost a person, one line each."""
    return [f"  {line}" for gateway in gateways for line in gateway.cost.splitlines()]
