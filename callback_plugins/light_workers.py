"""Less work for each of Ansible's workers."""

from __future__ import annotations

import gc
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import (
    action_loader,
    become_loader,
    connection_loader,
    filter_loader,
    lookup_loader,
    shell_loader,
    test_loader,
)

DOCUMENTATION = """
name: light_workers
type: aggregate
short_description: Loads plugins before Ansible forks, and leaves what the workers inherit to itself
description:
  - >-
    Ansible forks a process for each task and host, which loads every filter and test for its first template, and the
    plugins of its connection. What the controller has loaded before is inherited.
  - >-
    A collection of garbage in a worker writes to the header of every object that it has inherited, playbooks and
    variables included, so that the kernel copies their pages. Frozen objects are not visited.
  - >-
    The young objects of a task are collected rarely as well: most workers end before.
  - It prints nothing.
requirements:
  - enabled in the configuration (callbacks_enabled)
"""
YOUNG_OBJECTS = 50_000
"""So many more objects than were deallocated cause a collection. Python's own number is 700."""
OF_MOST_TASKS = (
    (action_loader, ("assert", "normal", "set_fact", "host_resources")),
    (become_loader, ("sudo",)),
    (connection_loader, ("local", "ssh")),
    (lookup_loader, ("role_settings",)),
    (shell_loader, ("sh",)),
)
"""Loaders, each with the plugins to load beforehand."""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # it carries no types
    """The callback light_workers."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "light_workers"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The playbooks are read."""
        for loader in (filter_loader, test_loader):
            for _ in loader.all():
                pass
        for loader, names in OF_MOST_TASKS:
            for name in names:
                loader.get(name, class_only=True)
        _, older, oldest = gc.get_threshold()
        gc.set_threshold(YOUNG_OBJECTS, older, oldest)
        gc.freeze()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """The hosts' variables are read, and what the play before has created is reclaimed."""
        gc.collect()
        gc.freeze()
