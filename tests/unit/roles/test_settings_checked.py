"""Whether the roles may leave out their checks because the play of the settings has made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

SETTINGS = Path(__file__).parents[3] / "playbooks/settings.yml"


@pytest.mark.parametrize(
    ("known", "checked"),
    [
        ({"groups": {}}, True),
        ({"groups": {"role_gateway": ["one", "two"]}, "aws_host_names": ["one", "two"]}, True),
        # Added in memory: its variables by its tags are not known before it is created.
        ({"groups": {"role_gateway": ["two"]}, "aws_host_names": ["one", "two"]}, False),
        ({"groups": {"role_gateway": []}, "aws_host_names": ["one"]}, False),
    ],
)
def test_a_host_that_is_yet_to_be_created_is_checked_again(known: dict[str, Any], checked: bool) -> None:
    loader = DataLoader()
    (play,) = loader.load_from_file(str(SETTINGS), trusted_as_template=True)
    fact = play["tasks"][-1]["ansible.builtin.set_fact"]["settings_checked"]
    assert Templar(loader, variables={"inventory_hostname": "one", **known}).template(fact) is checked
