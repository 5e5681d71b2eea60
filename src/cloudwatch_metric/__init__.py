"""Publishes to CloudWatch whether the gateways of a host are verified, for an alarm outside of the host."""
