"""A simulated month of the position manager against the gateway simulator: ``python -m bench.soak --help``."""
