"""``python -m bench.soak``: a simulated month, checked throughout; exit status 1 if anything is not as it must be."""

from __future__ import annotations

import sys

from bench.soak.run import main

sys.exit(main(sys.argv[1:]))
