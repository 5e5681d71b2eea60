"""The codes of an authenticator app, against RFC 6238."""

from __future__ import annotations

import pytest

from gateway_simulator.login.totp import PERIOD, code


@pytest.mark.parametrize(("moment", "expected"), [(59, "287082"), (1111111109, "081804"), (2000000000, "279037")])
def test_a_code_is_that_of_the_rfc(moment: int, expected: str) -> None:
    assert code(b"12345678901234567890", moment // PERIOD) == expected
