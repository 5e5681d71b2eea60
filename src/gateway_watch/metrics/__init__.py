"""Metrics of one gateway for Prometheus."""
