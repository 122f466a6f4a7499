"""Tells systemd the state of an agent that is one of its services (sd_notify(3))."""

from __future__ import annotations

from collections.abc import Callable

from burrow.client.agent import Agent
from burrow.shown import escaped
from burrow.supervisor.systemd import feed_watchdog, notify


def tell_systemd(agent: Agent) -> None:
    """
    Tell it what happens. The service is ready at once: a server that is away for minutes is no reason to end
    an agent, which tries again by itself.
    """
    agent.on_event.append(lambda kind, text: notify(f"STATUS={escaped(text)}"))
    notify(f"READY=1\nSTATUS=connecting to {agent.server}")
    feed_watchdog(agent.reactor)


def reload_told(read: Callable[[], object]) -> None:
    """Read a configuration anew, as C{systemctl reload} asks."""
    notify("RELOADING=1")
    read()
    notify("READY=1")
