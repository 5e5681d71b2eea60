"""The public key that belongs to a secret key of age on the controller."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))

from host_backup import encryption
from host_backup.errors import BackupError

DOCUMENTATION = """
name: age_recipient
short_description: The public key that belongs to a secret key of age on the controller
description:
  - Returns the public key (C(age1…)) of the identity in a file, for C(host_backup_recipients).
options:
  _terms:
    description: Files with an identity, as C(age-keygen) writes them.
    required: true
  create:
    description:
      - Create a missing file with a new identity, mode 0600, as C(ansible.builtin.password) does.
      - Store a copy of it elsewhere. Without it no backup can be restored.
    type: bool
    default: false
"""
EXAMPLES = """
host_backup_recipients: ["{{ lookup('age_recipient', host_backup_identity_file, create=true) }}"]
"""
RETURN = """
_raw:
  description: One public key for each file.
  type: list
"""


class LookupModule(LookupBase):  # type: ignore[misc]  # it carries no types
    """The lookup age_recipient."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [
                encryption.recipient_of(Path(term).expanduser(), create=self.get_option("create")) for term in terms
            ]
        except (BackupError, OSError) as error:
            raise AnsibleError(str(error)) from error
