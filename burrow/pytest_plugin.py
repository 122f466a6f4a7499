"""
The pytest fixture C{burrow_tunnel}: a URL that takes webhooks, and what came there. See docs/python.md.

pytest loads this module in every project of an environment that has Burrow, so it imports nothing of it
before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from burrow.testing.webhooks import Webhooks


@pytest.fixture
def burrow_tunnel() -> Iterator[Webhooks]:
    """
    A L{Webhooks<burrow.testing.webhooks.Webhooks>}: at a public URL if BURROW_SERVER is set, else at one of
    this machine's loopback.
    """
    from burrow.testing.webhooks import Webhooks

    with Webhooks.open() as webhooks:
        yield webhooks
