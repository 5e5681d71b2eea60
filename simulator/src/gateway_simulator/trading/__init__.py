"""The brokerage behind the API: contracts, market, orders and accounts. Nothing here knows the wire."""
