"""Burrow: server and agent as anybody starts them. Another checkout of it is a subject of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.crowd import Crowd
from bench.processes import Tree, family
from bench.subjects.base import Setup, Subject, Visit
from bench.upstreams import KINDS, Upstreams, wait_for_port
from tests.e2e.harness import Agent, World

_LIMITS = {"token_sessions": "2000", "token_tunnels": "20000", "token_names": "20000"}
"""One token has all agents here."""


class Burrow(Subject):
    """
    @cvar root: the checkout whose code runs.
    @ivar workers: the server's processes; to be set before the start.
    @ivar crowds: what L{crowd} started.
    @ivar inspector: the URL of the agent's inspector; empty without one.
    @ivar agents_process: the id of the agent's process.
    """

    name = "burrow"
    can = frozenset({"http", "https", "http2", "tcp", "tcp over tls", "line"})
    root = Path(__file__).parents[2]
    watched = False
    """Whether somebody looks: the agent has its inspector, and writes a line for each request."""

    def __init__(self, folder: Path, upstreams: Upstreams, setup: Setup) -> None:
        super().__init__(folder, upstreams, setup)
        self.workers = 1
        self.crowds: list[Crowd] = []

    def start(self) -> None:
        tls = "local" if self.setup.tls else "off"
        options: dict[str, object] = {"tls": tls, "log_level": "warn", **_LIMITS}
        options["workers"] = str(self.workers)
        if self.setup.http2:
            options["http2"] = True
        self.world = World(self.folder / "world", **options)
        with contextlib.chdir(self.root):  # python -m imports from there
            self.world.start_server()
            self.world.env["BURROW_TOKEN"] = self.world.token()
            self._connect_through_line()
            self._open()
        self.wait_until_open()

    def _open(self) -> None:
        """Open the tunnels."""
        tunnels = "".join(
            f'[tunnels.{target}]\nkind = "{KINDS[target]}"\nupstream = {self.upstreams.port(target)}\n'
            for target in self.setup.targets
        )
        self.agent: Agent = self._agent("start", "--config", self.write("agent.toml", tunnels))
        self.agents_process = self.agent.program.process.pid
        ready = self.agent.ready(len(self.setup.targets))
        self._urls = {event["name"]: event["url"] for event in ready}
        self.inspector: str = ready[0].get("inspector", "")

    def _agent(self, *arguments: object) -> Agent:
        flags = ()
        if not self.watched and (self.root / "burrow/client/screen").is_dir():  # older ones have neither
            flags = ("--quiet", "--no-inspect")
        return self.world.agent(*arguments, *flags)

    def _connect_through_line(self) -> None:
        port = self.world.https if self.setup.tls else self.world.http
        self.world.env["BURROW_SERVER"] = (
            f"{'https' if self.setup.tls else 'http'}://localhost:{self.agents_port(port)}"
        )

    def visit(self, target: str) -> Visit:
        host, _, port = self._urls[target].split("/")[2].partition(":")
        if KINDS[target] == "tcp":
            return Visit(int(port))
        return Visit(self.world.https if self.setup.tls else self.world.http, host, self.setup.tls)

    @property
    def processes(self) -> dict[str, Tree]:
        return {
            "server": Tree(self.world.server.process.pid),
            "agent": Tree(self.agents_process),
        }

    def one_more(self, name: str) -> Visit:
        """An agent more, in a process of its own."""
        with contextlib.chdir(self.root):
            agent = self._agent("http", self.upstreams.port("web"), "--name", name)
        return Visit(self.world.https if self.setup.tls else self.world.http, agent.host, self.setup.tls)

    def crowd(self, agents: int, tunnels: int) -> None:
        upstream = self.upstreams.port("web")
        self.crowds.append(Crowd(self.world, self.root, upstream, agents, tunnels))
        self.crowds[-1].wait()

    def restart(self) -> tuple[float, float]:
        """
        End all processes of the server by SIGKILL, and start it again.

        @return: when it was killed, and when its port listened again, by L{time.monotonic}. It tells that it
            serves later, since agents come as soon as it listens.
        """
        for crowd in self.crowds:
            crowd.again()
        killed = time.monotonic()
        for pid in family(self.world.server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.world.server.wait()
        with ThreadPoolExecutor(1) as pool:
            port = self.world.https if self.setup.tls else self.world.http
            listens = pool.submit(wait_for_port, port)
            with contextlib.chdir(self.root):
                self.world.start_server()
            return killed, listens.result()

    def stop(self) -> None:
        for crowd in self.crowds:
            crowd.stop()
        if hasattr(self, "world"):
            self.world.close()
        super().stop()


class WatchedBurrow(Burrow):
    """Burrow whose agent somebody looks at."""

    name = "watched"
    watched = True


class ServedBurrow(Burrow):
    """No agent: the app of L{bench.app} opens its tunnel itself, by C{burrow.serve}."""

    name = "served"
    special = True
    can = frozenset({"http", "https"})

    def _open(self) -> None:
        """See L{Burrow}."""
        program = self.world.program(sys.executable, "-m", "bench.app", env=self.world.env)
        self.agents_process = program.process.pid
        self._urls = {"app": program.line(r"^(https?://\S+)$")[1]}


def other_checkout(root: Path, name: str = "before") -> type[Burrow]:
    """Burrow as it is in another folder."""
    return type(Burrow)(name, (Burrow,), {"name": name, "root": root.resolve()})
