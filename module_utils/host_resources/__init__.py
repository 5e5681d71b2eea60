"""Converge a set of resources of a host: what the module host_resources does, in parts that can be tested."""
