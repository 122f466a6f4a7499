"""What is measured: one interface for Burrow, its peers, and what they are compared with."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar

from bench import relay
from bench.processes import Tree
from bench.upstreams import HTTP, KINDS, Upstreams
from tests.e2e.harness import Program


@dataclass(frozen=True)
class Setup:
    """
    What a row needs.

    @ivar targets: names of upstreams (L{bench.upstreams.KINDS}), for each of which there is a tunnel.
    @ivar tls: whether visitors come by HTTPS, and the agent's connection is encrypted.
    @ivar line: the line between agent and server; None for the loopback as it is.
    @ivar http2: whether visitors speak HTTP/2.
    @ivar shape: the direction of the line that is limited: "up" is from the agent to the server.
    """

    targets: tuple[str, ...]
    tls: bool = False
    line: relay.Line | None = None
    shape: str = "both"
    http2: bool = False

    @property
    def needs(self) -> set[str]:
        """What the subject must be capable of."""
        kinds = {KINDS[target] for target in self.targets}
        if self.tls:
            kinds = {"https" if kind == HTTP else f"{kind} over tls" for kind in kinds}
        return kinds | ({"line"} if self.line else set()) | ({"http2"} if self.http2 else set())


@dataclass(frozen=True)
class Visit:
    """Where a visitor connects to, and the host that it asks for there."""

    port: int
    host: str = "127.0.0.1"
    tls: bool = False
    address: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """With the address. The host goes into the Host field."""
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.port}/"

    def connection(self, timeout: float = 30.0) -> HTTPConnection:
        """An http.client connection, made when it is used."""
        connection = HTTPConnection(self.address, self.port, timeout=timeout)
        if self.tls:
            connection.connect()
            connection.sock = _TRUSTING.wrap_socket(connection.sock, server_hostname=self.host)
        return connection

    @property
    def fields(self) -> dict[str, str]:
        """Fields of a request."""
        return {"Host": self.host}


_TRUSTING = ssl.create_default_context()
_TRUSTING.check_hostname = False
_TRUSTING.verify_mode = ssl.CERT_NONE


def find(name: str) -> str | None:
    """A program, in $BENCH_PEERS or on the PATH."""
    places = [os.environ.get("BENCH_PEERS", ""), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(place for place in places if place))


class Subject(ABC):
    """
    One way from a visitor to an upstream, with one setup.

    @cvar name: its column in the table.
    @cvar can: what it is capable of: "http", "https", "http2", "tcp", "tcp over tls", "line".
    @cvar special: whether it is measured only in rows that name it.
    @cvar programs: what it needs, found by L{find}.
    """

    name: ClassVar[str]
    can: ClassVar[frozenset[str]]
    programs: ClassVar[tuple[str, ...]] = ()
    special: ClassVar[bool] = False

    def __init__(self, folder: Path, upstreams: Upstreams, setup: Setup) -> None:
        self.folder = folder
        self.upstreams = upstreams
        self.setup = setup
        self._started: list[Program] = []
        self._relays: list[subprocess.Popen[str]] = []

    @classmethod
    def missing(cls) -> list[str]:
        """The programs that are not here."""
        return [name for name in cls.programs if find(name) is None]

    @classmethod
    def serves(cls, setup: Setup) -> bool:
        """Whether it is capable of a setup."""
        return setup.needs <= cls.can

    @abstractmethod
    def start(self) -> None:
        """Start all processes; return when the tunnels are open."""

    @abstractmethod
    def visit(self, target: str) -> Visit:
        """Where a visitor of an upstream goes."""

    @property
    def processes(self) -> dict[str, Tree]:
        """Its processes, "server" and "agent"; those of the upstreams and visitors do not count."""
        return {}

    def crowd(self, agents: int, tunnels: int) -> None:
        """Start so many idle agents more, each with so many tunnels; return when all are open."""
        raise NotImplementedError(f"{self.name} cannot be had in such numbers")

    def stop(self) -> None:
        """End all processes."""
        for program in reversed(self._started):
            program.stop()
        for process in self._relays:
            process.kill()
            process.wait()

    # -- for the subjects -----------------------------------------------------------------------------------

    def run(self, name: str, *arguments: object, **options: object) -> Program:
        """Start a program that L{stop} ends."""
        found = find(name)
        assert found is not None, f"{name} is not here"
        program = Program(found, *arguments, **options)
        self._started.append(program)
        return program

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        file = self.folder / name
        file.write_text(text)
        return file

    def agents_port(self, port: int) -> int:
        """Where the agent connects to, for a server that listens on C{port}: the line, if there is one."""
        if self.setup.line is None:
            return port
        process, near = relay.start(port, self.setup.line, self.setup.shape)
        self._relays.append(process)
        return near

    def wait_until_open(self, patience: float = 30.0) -> None:
        """Wait until every target answers: HTTP with 200, TCP with a connection that stays open."""
        for target in self.setup.targets:
            deadline = time.monotonic() + patience
            while not self._answers(target):
                for program in self._started:
                    if program.process.poll() is not None:
                        raise RuntimeError(f"{self.name}: a program ended:\n{program.output}")
                if time.monotonic() > deadline:
                    outputs = "\n".join(program.output for program in self._started)
                    raise TimeoutError(f"{self.name}: no answer from {target}:\n{outputs}")
                time.sleep(0.05)

    def _answers(self, target: str) -> bool:
        visit = self.visit(target)
        try:
            connection = visit.connection(timeout=3)
            if KINDS[target] == HTTP:
                connection.request("GET", "/", headers=visit.fields)
                answered = connection.getresponse().status == 200
            else:
                connection.connect()
                connection.sock.settimeout(0.1)
                try:
                    answered = connection.sock.recv(1) != b""
                except TimeoutError:
                    answered = True
            connection.close()
        except (OSError, ValueError):
            return False
        return answered


class PortForward(Subject):
    """
    A tunnel that gives each target a port and knows no HTTP.

    @ivar _ports: a visitor's port, by target. @ivar _server: its server. @ivar _agent: its agent.
    """

    can = frozenset({"http", "tcp", "line"})
    _ports: dict[str, int]
    _server: Program
    _agent: Program

    def visit(self, target: str) -> Visit:
        """See L{Subject}."""
        return Visit(self._ports[target])

    @property
    def processes(self) -> dict[str, Tree]:
        """See L{Subject}."""
        return {"server": Tree(self._server.process.pid), "agent": Tree(self._agent.process.pid)}
