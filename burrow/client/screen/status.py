"""The state of an agent in one word, and what is wrong in one sentence that says what is done about it."""

from __future__ import annotations

from typing import Any

from burrow.addresses import DEFAULT_PORTS
from burrow.client.agent import Agent
from burrow.client.screen.amounts import span
from burrow.client.screen.scene import State
from burrow.client.wanted import Wanted
from burrow.protocols.base import Reach
from burrow.wording import count_of

_PATIENT = 1.5
"""Seconds that a server may take to open a tunnel before it is told that it is waited for."""


def server_url(agent: Agent) -> str:
    """As a person would write it."""
    address = agent.server
    default = DEFAULT_PORTS["https" if address.secure else "http"]
    return str(address).removesuffix(f":{default}")


class Status:
    """@ivar state: as of the last L{look}."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._clock: Any = agent.reactor
        self.state = State.CONNECTING
        self._since = self._clock.seconds()
        self._why = ""
        self._stopping = ""

    def event(self, event: str, text: str) -> bool:
        """See C{on_event} of L{Agent}. @return: whether it is told by L{trouble}."""
        if event == "disconnected":
            self._why = text.removesuffix("; trying again")
        elif event == "connected":
            self._why = ""
        elif event == "stopping":
            self._stopping = text
        else:
            return False
        return True

    def look(self) -> None:
        """See what state the agent is in."""
        linked = self._agent.linked
        if self._stopping:
            state = State.STOPPING
        elif linked is None:
            state = State.CONNECTING
        elif not linked.attached:
            state = State.OFFLINE
        elif self._waiting():
            state = State.OPENING
        else:
            state = State.ONLINE
            self._why = ""
        if state is not self.state:
            self.state, self._since = state, self._clock.seconds()

    def _waiting(self) -> list[Wanted]:
        """The tunnels that the server has not answered for yet."""
        return [each for each in self._agent.wanted.all if not each.open and each.refusal is None]

    def trouble(self, under_way: int) -> str:
        """@param under_way: requests that are not over. @return: the sentence; empty if all is well."""
        waited = self._clock.seconds() - self._since
        if self.state is State.STOPPING:
            return self._stopping
        if self.state is State.OPENING:
            return self._opening(waited)
        if self.state is State.ONLINE:
            return ""
        next_try = self._agent.next_try
        wait = 0.0 if next_try is None else next_try - self._clock.seconds()
        again = f"next try in {span(wait + 0.5)}" if wait >= 1 else "trying again"
        if self.state is State.CONNECTING:
            return f"{self._why}; {again}" if self._why else f"connecting to {server_url(self._agent)}"
        lost = "connection lost"
        if waited >= 1:
            lost += f" {span(waited)} ago"
        why = f" ({self._why})" if self._why and "was lost" not in self._why else ""
        waits = f"; {count_of(under_way, 'request')} {'waits' if under_way == 1 else 'wait'}"
        return f"{lost}; {again}{waits if under_way else ''}{why}"

    def _opening(self, waited: float) -> str:
        waiting = self._waiting()
        if waited < _PATIENT or not waiting:
            return ""
        which = waiting[0].request.name or "the tunnel" if len(waiting) == 1 else f"{len(waiting)} tunnels"
        text = f"waiting for the server to open {which}, {span(waited)} so far"
        if self._agent.server.secure and any(each.request.kind.reach is Reach.HOST for each in waiting):
            text += ": a new name gets a certificate first, which mostly takes seconds, and a minute at most"
        return text
