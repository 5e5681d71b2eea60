"""Benchmarks of the programs in this repository, each run manually."""
