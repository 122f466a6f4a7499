"""chisel (github.com/jpillora/chisel): SSH over a WebSocket. It forwards ports and knows no HTTP."""

from __future__ import annotations

from bench.subjects.base import PortForward
from tests.e2e.harness import free_port


class Chisel(PortForward):
    """Reverse port forwarding."""

    name = "chisel"
    programs = ("chisel",)

    def start(self) -> None:
        port = free_port()
        server = ["server", "--host", "127.0.0.1", "--port", port, "--reverse"]
        self._server = self.run("chisel", *server)
        self._server.line("Listening on")
        self._ports = {target: free_port() for target in self.setup.targets}
        remotes = [
            f"R:127.0.0.1:{mine}:127.0.0.1:{self.upstreams.port(target)}"
            for target, mine in self._ports.items()
        ]
        self._agent = self.run("chisel", "client", f"http://127.0.0.1:{self.agents_port(port)}", *remotes)
        self.wait_until_open()
