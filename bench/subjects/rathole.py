"""rathole (crates.io/crates/rathole): it forwards ports and knows no HTTP."""

from __future__ import annotations

from bench.subjects.base import PortForward
from tests.e2e.harness import free_port


class Rathole(PortForward):
    """Over plain TCP, its default: one connection to the server for each of a visitor's."""

    name = "rathole"
    programs = ("rathole",)

    def start(self) -> None:
        port = free_port()
        self._ports = {target: free_port() for target in self.setup.targets}
        server = f'[server]\nbind_addr = "127.0.0.1:{port}"\ndefault_token = "bench"\n'
        agent = f'[client]\nremote_addr = "127.0.0.1:{self.agents_port(port)}"\ndefault_token = "bench"\n'
        for target, mine in self._ports.items():
            server += f'[server.services.{target}]\nbind_addr = "127.0.0.1:{mine}"\n'
            upstream = self.upstreams.port(target)
            agent += f'[client.services.{target}]\nlocal_addr = "127.0.0.1:{upstream}"\n'
        self._server = self.run("rathole", "--server", self.write("server.toml", server))
        self._agent = self.run("rathole", "--client", self.write("agent.toml", agent))
        self.wait_until_open()
