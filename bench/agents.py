"""
Many agents in one process, each with an id and a session of its own. It runs with the code of any checkout:

    PYTHONPATH=CHECKOUT python -P bench/agents.py COUNT TUNNELS PREFIX UPSTREAM

The server, the token and the CA file come from the environment, as for `burrow http`. It prints "open TIME",
by the clock of L{time.monotonic}, whenever all agents have all their tunnels open. From standard input it
reads how many tunnels each is to have from now on, a number a line; or "again": all that are open are to be
opened anew, since the server will be killed. It answers "waiting" then.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import sys
import time
from pathlib import Path

from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineReceiver

from burrow.client.agent import Agent
from burrow.client.tunnels import TunnelRequest, tunnel_request
from burrow.client.wanted import Opened
from burrow.link.address import Credentials, ServerAddress


class Agents:
    """All agents of this process."""

    def __init__(self, count: int, tunnels: int, prefix: str, upstream: str) -> None:
        self._prefix, self._upstream = prefix, upstream
        self._tunnels = tunnels
        self._told = False
        self._open: list[set[str]] = [set() for _ in range(count)]
        self._missing = count * tunnels
        self._agents = [self._agent(number) for number in range(count)]

    def _agent(self, number: int) -> Agent:
        credentials = Credentials(
            ServerAddress.parse(os.environ["BURROW_SERVER"]),
            os.environ["BURROW_TOKEN"],
            secrets.token_hex(8),
            Path(os.environ["BURROW_CA_FILE"]) if "BURROW_CA_FILE" in os.environ else None,
        )
        agent = Agent(reactor, credentials, self._requests(number))
        agent.on_opened.append(lambda opened: self._opened(number, opened))
        agent.on_event.append(lambda event, text: self._event(number, event, text))
        agent.done.addErrback(lambda reason: print("ended", reason.getErrorMessage(), flush=True))
        return agent

    def _requests(self, number: int) -> list[TunnelRequest]:
        return [
            tunnel_request("http", self._upstream, f"{self._prefix}-{number}-{which}", {})
            for which in range(self._tunnels)
        ]

    def start(self) -> None:
        for agent in self._agents:
            agent.startService()

    def want(self, tunnels: int) -> None:
        """Each agent is to have so many, which is no less than before."""
        self._missing += (tunnels - self._tunnels) * len(self._agents)
        self._tunnels, self._told = tunnels, False
        for number, agent in enumerate(self._agents):
            agent.change(self._requests(number))

    def again(self) -> None:
        """
        All sessions end now. Counted from here, not from when each agent is connected anew: those that are
        first would have all their tunnels again before others are connected.
        """
        for names in self._open:
            self._missing += len(names)
            names.clear()
        self._told = False
        print("waiting", flush=True)

    def _opened(self, number: int, opened: Opened) -> None:
        if opened.name not in self._open[number]:
            self._open[number].add(opened.name)
            self._missing -= 1
            if not self._missing and not self._told:
                self._told = True
                print(f"open {time.monotonic()}", flush=True)

    def _event(self, number: int, event: str, text: str) -> None:
        """A new session has no tunnels yet; one that was resumed has them still."""
        if event == "connected" and text != "connected again":
            self._missing += len(self._open[number])
            self._open[number].clear()
            self._told = False


class Orders(LineReceiver):
    """Standard input."""

    delimiter = b"\n"

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def lineReceived(self, line: bytes) -> None:
        if line == b"again":
            self._agents.again()
        else:
            self._agents.want(int(line))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="bench/agents.py")
    parser.add_argument("count", type=int)
    parser.add_argument("tunnels", type=int)
    parser.add_argument("prefix")
    parser.add_argument("upstream")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    agents = Agents(given.count, given.tunnels, given.prefix, given.upstream)
    agents.start()
    stdio.StandardIO(Orders(agents))
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
