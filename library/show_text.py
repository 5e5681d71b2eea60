#!/usr/bin/python
"""Documentation of the show_text action, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show_text
short_description: Show a text to the operator as it is
description:
  - Prints a text on the terminal of the controller without quoting or indenting it.
  - With a callback whose output is a document for programs it prints nothing and returns the text.
  - For a status screen, lines of a log, or an announcement before something that costs the operator an action.
author: ib-gateway-ansible
options:
  text:
    description: What to show.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: It changes nothing, so it does the same in check mode.
notes:
  - The action plugin of the same name does the work; no connection to the host is opened.
"""

EXAMPLES = r"""
- name: Announce the restart
  show_text:
    text: The restart ends the session. Approve the login in IBKR Mobile within 180 s.
"""

RETURN = r"""
text:
  description: The text, for a program to read.
  returned: when the output of the playbook is for programs, and nothing may be printed beside it
  type: str
"""
