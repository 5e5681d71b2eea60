"""What the controller does before it forks."""

from __future__ import annotations

import configparser
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins import load

ROOT = Path(__file__).parents[3]


@pytest.fixture
def callback() -> Iterator[object]:
    thresholds = gc.get_threshold()
    yield load("callback_plugins/light_workers.py").CallbackModule()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_the_workers_of_every_command_inherit_what_they_would_load() -> None:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "ansible.cfg")
    assert settings["defaults"]["callback_plugins"] == "callback_plugins"
    assert settings["defaults"]["callbacks_enabled"] == "light_workers"


def test_each_plugin_that_is_named_is_found() -> None:
    for loader, names in load("callback_plugins/light_workers.py").OF_MOST_TASKS:
        for name in names:
            if not (ROOT / f"{loader.subdir}/{name}.py").exists():
                assert loader.get(name, class_only=True) is not None, name


def test_plugins_are_loaded_and_frozen_before_the_first_play(callback) -> None:  # type: ignore[no-untyped-def]  # loaded by its path
    frozen = gc.get_freeze_count()
    callback.v2_playbook_on_start(None)
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold()[0] > 700
    assert any(name.endswith("plugins.connection.ssh") for name in sys.modules)
    created = [[] for _ in range(1000)]  # type: ignore[var-annotated]  # anything that the collector would visit
    frozen = gc.get_freeze_count()
    callback.v2_playbook_on_play_start(None)
    assert gc.get_freeze_count() >= frozen + len(created)
