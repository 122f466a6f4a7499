"""What a tunnel command shows: lines for a person, or one JSON object a line for a program."""

from __future__ import annotations

import json
from typing import Any

from burrow.cli.run import complain, say
from burrow.client.agent import Agent
from burrow.client.wanted import Opened
from burrow.shown import escaped


class Screen:
    """
    Shows an agent's events: with C{as_json} all on standard output, one JSON object a line; else the URLs on
    standard output, and other events on standard error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._shown: dict[str, str] = {}

    def watch(self, agent: Agent) -> None:
        """Show what happens to C{agent}, which has not started yet."""
        agent.on_opened.append(self.opened)
        agent.on_event.append(self.event)

    def opened(self, opened: Opened) -> None:
        """A tunnel is open. After a reconnect it is not shown again, unless its URL is another."""
        if self._shown.get(opened.name) == opened.url:
            return
        self._shown[opened.name] = opened.url
        upstream = str(opened.request.upstream)
        if self._json:
            kind = opened.request.kind.name
            self._emit("ready", kind=kind, name=opened.name, url=opened.url, upstream=upstream)
        else:
            say(escaped(f"{opened.url} -> {upstream}"))

    def event(self, event: str, text: str) -> None:
        """Show an event: see C{on_event} of L{Agent}."""
        if self._json:
            if event == "connected" and not self._shown:
                return  # the first line says ready
            self._emit(event, message=text)
        elif event != "connected" or self._shown:
            complain(text)

    def failed(self, error: Exception) -> None:
        """Show the error that ends the command; without JSON, L{burrow.cli.run.run} shows it."""
        if self._json:
            self._emit("error", error=type(error).__name__, message=str(error))

    @staticmethod
    def _emit(event: str, **fields: Any) -> None:
        say(json.dumps({"event": event, **fields}))
