"""`python -m host_backup`, as the controller runs it."""

from __future__ import annotations

import sys

from host_backup.cli import main

if __name__ == "__main__":
    sys.exit(main())
