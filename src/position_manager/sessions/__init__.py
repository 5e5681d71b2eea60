"""When markets trade: what the broker tells of a contract's hours, and a calendar where it tells none."""
