"""What the rules of tunnels' policies may use, by this server's reactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from burrow.policy.means import Means
from burrow.server.config import ServerConfig
from burrow.server.slow_work import SlowWork
from burrow.trust import trust_root


def make_means(reactor: Any, config: ServerConfig) -> Means:
    """See L{Means}."""
    fetching: list[Any] = []

    def fetch(url: str, form: Mapping[str, str] | None, fields: Mapping[str, str] | None) -> Deferred[Any]:
        if not fetching:  # few servers have such tunnels: the others need not load an HTTP client
            from burrow.server.fetching import Fetching

            fetching.append(Fetching(reactor, trust_root(None), private=config.private_providers))
        asked: Deferred[Any] = fetching[0].fetch(url, form, fields)
        return asked

    return Means(in_thread=SlowWork(reactor), fetch=fetch)
