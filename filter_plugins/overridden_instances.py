"""Apply the settings of each instance of a role to the settings that all instances share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError


def overridden_instances(
    instances: object, shared: Mapping[str, Any], variable: str, example: str, *, required: bool = True
) -> list[dict[str, Any]]:
    """The instances as flat mappings: shared settings, overridden, with the name and the unit.

    Raises AnsibleFilterError for a map of the wrong shape or an unknown setting: both are typing errors
    that would otherwise be ignored in silence.
    """
    if not isinstance(instances, Mapping) or (required and not instances):
        raise AnsibleFilterError(
            f"{variable} must map instance names to their settings, for example {{{example}: {{}}}}; "
            f"got {type(instances).__name__}"
        )
    found = []
    for name, overrides in instances.items():
        own = {} if overrides is None else overrides
        if not isinstance(own, Mapping):
            raise AnsibleFilterError(f"{variable}.{name} must be a mapping of settings, got {type(own).__name__}")
        unknown = sorted(set(own) - set(shared))
        if unknown:
            raise AnsibleFilterError(
                f"{variable}.{name} has unknown settings: {', '.join(unknown)}; "
                f"allowed are: {', '.join(sorted(shared))}"
            )
        found.append({**shared, **own, "name": str(name), "unit": f"{name}.service"})
    return found


class FilterModule:
    """Filters that the roles share; their own filter plugins find it with Ansible's filter_loader."""

    def filters(self) -> dict[str, Any]:
        return {"overridden_instances": overridden_instances}
