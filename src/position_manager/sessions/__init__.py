"""When markets trade: the hours that the broker reports for a contract, and a calendar where it reports none."""
