"""piko (github.com/andydunstall/piko): HTTP by the first label of the host, yamux over a WebSocket."""

from __future__ import annotations

from bench.processes import Tree
from bench.subjects.base import Subject, Visit
from tests.e2e.harness import free_port


class Piko(Subject):
    """HTTP alone: for its TCP, visitors need a program of piko's."""

    name = "piko"
    can = frozenset({"http", "line"})
    programs = ("piko",)

    def start(self) -> None:
        self._proxy, upstream, admin, gossip, status = (free_port() for _ in range(5))
        server = ["--proxy.bind-addr", f"127.0.0.1:{self._proxy}"]
        server += ["--upstream.bind-addr", f"127.0.0.1:{upstream}"]
        server += ["--admin.bind-addr", f"127.0.0.1:{admin}"]
        server += ["--cluster.gossip.bind-addr", f"127.0.0.1:{gossip}"]
        self._server = self.run("piko", "server", "--log.level", "error", *server)
        listeners = "".join(
            f'  - endpoint_id: {target}\n    addr: "{self.upstreams.port(target)}"\n'
            "    timeout: 5m\n    access_log:\n      disable: true\n"
            for target in self.setup.targets
        )
        agent = f'connect:\n  url: "http://127.0.0.1:{self.agents_port(upstream)}"\n'
        agent += f'server:\n  bind_addr: "127.0.0.1:{status}"\nlog:\n  level: error\nlisteners:\n{listeners}'
        file = self.write("agent.yaml", agent)
        self._agent = self.run("piko", "agent", "start", "--config.path", file)
        self.wait_until_open()

    def visit(self, target: str) -> Visit:
        return Visit(self._proxy, f"{target}.localhost")

    @property
    def processes(self) -> dict[str, Tree]:
        return {"server": Tree(self._server.process.pid), "agent": Tree(self._agent.process.pid)}
