"""Gateways in small real containers, for the tests of the supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.supervised import Gateway, Image, MakeGateway


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    made = Image()
    yield made
    made.remove()


@pytest.fixture
def make(tmp_path: Path, image: Image) -> Iterator[MakeGateway]:
    made: list[Gateway] = []

    def build(variables: dict[str, str] | None = None, **settings: Any) -> Gateway:
        root = tmp_path / str(len(made))
        root.mkdir()
        made.append(Gateway(root, image, settings, variables or {}))
        return made[-1]

    yield build
    for gateway in made:
        gateway.close()
