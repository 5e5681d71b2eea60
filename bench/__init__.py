"""Measurements of the programs in this repository, each run by hand."""
