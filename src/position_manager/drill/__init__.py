"""A drill: the connection is lost in the middle of an order, and nothing is closed twice."""
