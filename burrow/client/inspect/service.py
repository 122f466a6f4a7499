"""The inspector as a service beside an agent: its port, and a note by which other programs find it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from burrow.addresses import ListenAddress, authority, is_loopback
from burrow.client.agent import Agent
from burrow.client.config import ClientConfig
from burrow.client.counted import counted_by
from burrow.client.inspect.store import Store
from burrow.client.tunnels import TunnelRequest
from burrow.client.wanted import Opened
from burrow.errors import ConfigError
from burrow.folders import state_folder
from burrow.protocols.base import AgentTunnel
from burrow.protocols.upstream import Upstream

TRIED_PORTS = 100
"""How many ports are tried, from the first one on, where none was asked for; then any is taken."""

NOTES = "inspectors"
"""The folder, in the state folder, with a note for each inspector that runs."""

DEFAULT = ListenAddress("127.0.0.1", 4040)
"""Where the inspector is, unless that is taken."""


class Inspector(Service):
    """
    Keeps what passes through an agent's tunnels, and serves it.

    Make it before the agent is started, so that it hears of its tunnels.

    @param address: where to listen. @param next_free: whether to take one of the next ports if that is taken.
    @param memory: bytes that are kept, at most, about.
    @ivar store: what is kept. @ivar url: where it is served, once it has started.
    """

    log = Logger()

    def __init__(
        self,
        agent: Agent,
        address: ListenAddress,
        *,
        next_free: bool = False,
        memory: int,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.store = Store(memory)
        self.url = ""
        self._agent = agent
        self._address = address
        self._next_free = next_free
        self._opened: dict[str, Opened] = {}
        self._port: Any = None
        self._factory = _Lazy(self)
        self._notes = state_folder(environ) / NOTES
        self._note: Path | None = None
        agent.on_opened.append(self._remember)

    def startService(self) -> None:
        """Listen. @raise ConfigError: the address is not possible, or taken."""
        super().startService()
        try:
            self._port = self._listen()
        except ConfigError as error:
            if not self._next_free:
                raise
            self._agent.tell("notice", str(error))  # nobody asked for it: the tunnels are open all the same
            return
        host = self._address.host
        shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
        self.url = f"http://{authority(shown, self._port.getHost().port)}"
        self._agent.inspected_at(self.url)
        self._agent.traffic.add(self.store)
        self._write_note()
        if not self.loopback:
            self._agent.tell(
                "warning",
                f"whoever reaches {self._address} sees all requests, and can replay them: --inspect "
                "127.0.0.1:4040 is for this machine alone",
            )

    def stopService(self) -> Deferred[None]:
        """Stop listening, and close all connections."""
        super().stopService()
        return Deferred.fromCoroutine(self.stop())

    async def stop(self) -> None:
        """Stop listening, and close all connections. Nothing happens if it does not run."""
        self._agent.traffic.remove(self.store)
        if self._note is not None:
            with contextlib.suppress(OSError):
                self._note.unlink()
        self._factory.stop()
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()

    @property
    def loopback(self) -> bool:
        """Whether it listens on the loopback only."""
        return is_loopback(self._address.host)

    def _listen(self) -> Any:
        host = "127.0.0.1" if self._address.host == "localhost" else self._address.host
        first = self._address.port
        tried = TRIED_PORTS if self._next_free and first else 1
        failure: Exception | None = None
        ports = range(first, min(first + tried, 65536))
        for port in (*ports, 0) if self._next_free else ports:
            try:
                return self._agent.reactor.listenTCP(port, self._factory, backlog=128, interface=host)
            except (CannotListenError, OSError) as error:
                failure = error
        why = getattr(failure, "socketError", failure)
        raise ConfigError(
            f"the inspector cannot listen on {self._address} ({getattr(why, 'strerror', None) or why}): "
            "give another address with --inspect, or --no-inspect"
        )

    def _write_note(self) -> None:
        """Tell other programs of this user. Without the note they look at the usual ports."""
        note = self._notes / f"{os.getpid()}-{self._port.getHost().port}.json"
        try:
            self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            note.write_text(json.dumps({"url": self.url, "pid": os.getpid()}) + "\n", encoding="utf-8")
            self._note = note
        except OSError as error:
            self.log.info("cannot write {note}: {error}", note=str(note), error=error)

    def _remember(self, opened: Opened) -> None:
        self._opened[opened.name] = opened

    def upstream_of(self, tunnel: str) -> Upstream | None:
        """The upstream of a tunnel by its name; None if it is not wanted, or none can be connected to."""
        wanted = {each.request for each in self._agent.wanted.all}
        opened = self._opened.get(tunnel)
        request: TunnelRequest | AgentTunnel | None = None
        if opened is not None and opened.request in wanted:
            request = opened.request
        if request is None:
            request = self._agent.streams.open_tunnels.get(tunnel)
        if request is None:
            request = next((each for each in wanted if each.name == tunnel), None)
        upstream = None if request is None else request.upstream
        return upstream if isinstance(upstream, Upstream) else None

    def about(self) -> dict[str, Any]:
        """What there is to say about the agent: for its page, and for programs."""
        wanted = {each.request for each in self._agent.wanted.all}
        return {
            "pid": os.getpid(),
            "tunnels": [
                {
                    "name": each.name,
                    "kind": each.request.kind.name,
                    "url": each.url,
                    "upstream": str(each.request.upstream),
                }
                for each in self._opened.values()
                if each.request in wanted
            ],
            "counts": counted_by(self._agent),
        }


def make_inspector(
    agent: Agent, config: ClientConfig, environ: Mapping[str, str], default: ListenAddress | None = DEFAULT
) -> Inspector | None:
    """
    The inspector that an agent's configuration asks for; None if it asks for none.

    @param default: where it is if no address is given; None for nowhere.
    """
    address = config.inspect or default
    if config.no_inspect or address is None:
        return None
    memory = config.inspect_memory * 2**20
    return Inspector(agent, address, next_free=config.inspect is None, memory=memory, environ=environ)


class _Lazy(Factory):
    """Makes the server when the first connection comes: until then it costs no memory."""

    noisy = False

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._web: Any = None
        self._api: Any = None
        self._replayer: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        """One more connection."""
        if self._web is None:
            self._make()
        return self._web.buildProtocol(addr)

    def _make(self) -> None:
        from burrow.client.inspect.api import Api
        from burrow.client.inspect.replay import Replayer
        from burrow.client.inspect.web import InspectorFactory

        inspector = self._inspector
        agent = inspector._agent
        self._replayer = Replayer(agent.reactor, agent.traffic, inspector.store, inspector.upstream_of)
        self._api = Api(
            agent.reactor, inspector.store, self._replayer, inspector.about, loopback=inspector.loopback
        )
        self._web = InspectorFactory(agent.reactor, self._api)

    def stop(self) -> None:
        """Close all connections."""
        if self._web is not None:
            self._replayer.stop()
            self._api.followers.stop()
            self._web.close()
