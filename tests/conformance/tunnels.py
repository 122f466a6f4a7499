"""The servers and agents that suites run through: real processes, on the loopback."""

from __future__ import annotations

import ssl
from pathlib import Path

from tests.e2e.harness import Agent, Program, World


class Tunnels:
    """
    A server with TLS and one without, both with HTTP/2, started when they are first asked for.

    @ivar hosts: a file of hosts in which the names of the tunnels are this machine's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = folder / "hosts"
        self._names = ["localhost"]
        self._worlds: dict[bool, World] = {}
        self._programs: list[Program] = []

    def world(self, *, tls: bool = True) -> World:
        """The server with TLS, or the one without."""
        if tls not in self._worlds:
            folder = self.folder / ("tls" if tls else "plain")
            folder.mkdir()
            world = World(folder, http2=True, **({} if tls else {"tls": "off"}))
            self._worlds[tls] = world
            world.start_server()
            world.env["BURROW_TOKEN"] = world.token()
        return self._worlds[tls]

    def open(self, name: str, upstream: str | int, *options: str, tls: bool = True) -> tuple[World, str]:
        """Open a tunnel. @return: its server, and its host."""
        agent: Agent = self.world(tls=tls).agent("http", upstream, "--name", name, *options)
        host: str = agent.host
        self._names.append(host)
        self.hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in dict.fromkeys(self._names)))
        return self.world(tls=tls), host

    def service(self, command: list[str | Path], ready: str = "") -> Program:
        """Start a service that the suites talk to. C{ready}: what it prints when it serves."""
        program = Program(*command)
        self._programs.append(program)
        if ready:
            program.line(ready)
        return program

    def trust(self) -> ssl.SSLContext:
        """A context that trusts the server with TLS."""
        return ssl.create_default_context(cafile=str(self.world().ca_file))

    def close(self) -> None:
        """End all that was started."""
        for world in self._worlds.values():
            world.close()
        for program in self._programs:
            program.stop()
