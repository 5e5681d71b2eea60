"""Audit of a host: about forty points, each with what is expected, what was found and the remedy. Changes nothing.

`host` reads the machine, `point` is the result of one check, `points` holds the checks by subject, `report` shows them
as a table, JSON and JUnit.
"""
