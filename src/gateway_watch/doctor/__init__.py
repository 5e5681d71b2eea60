"""Diagnosis of one gateway that does not come up: every check from the configuration to the link to IBKR, in order.

`facts` is what was found on the host, `collect` finds it, `checks` judges it (pure), `network` tests the way to
IBKR's servers, `report` shows the result, `bundle` packs it for somebody else, without secrets.
"""
