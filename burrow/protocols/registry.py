"""Finds the kinds of tunnels, by L{twisted.plugin}: ours are found as anybody's are."""

from __future__ import annotations

from functools import cache

from twisted.plugin import getPlugins

from burrow.protocols.base import ITunnelProtocol, Kind


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name. Looked for once a process."""
    return {plugin.name: plugin for plugin in getPlugins(ITunnelProtocol)}
