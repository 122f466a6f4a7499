"""frp: frps and frpc (github.com/fatedier/frp)."""

from __future__ import annotations

from bench.processes import Tree
from bench.subjects.base import Subject, Visit
from bench.upstreams import KINDS
from tests.e2e.harness import free_port
from tests.files import make_certificate


class Frp(Subject):
    """
    Plain: over TCP without TLS. With TLS: its WebSocket over TLS between the two, and visitors' HTTPS ends at
    frpc (its plugin https2http), since frps ends none.
    """

    name = "frp"
    can = frozenset({"http", "https", "tcp", "line"})
    programs = ("frps", "frpc")

    visitors_tls = True

    def start(self) -> None:
        self._bind, self._http, self._https = free_port(), free_port(), free_port()
        server = f'bindAddr = "127.0.0.1"\nproxyBindAddr = "127.0.0.1"\nbindPort = {self._bind}\n'
        server += f"vhostHTTPPort = {self._http}\nvhostHTTPSPort = {self._https}\n"
        self._frps = self.run("frps", "-c", self.write("frps.toml", server + 'log.level = "error"\n'))
        self._ports = {target: free_port() for target in self.setup.targets}
        agent = f'serverAddr = "127.0.0.1"\nserverPort = {self.agents_port(self._bind)}\n'
        agent += f'log.level = "error"\nloginFailExit = false\ntransport.tls.enable = {self._flag}\n'
        if self.setup.tls:
            agent += 'transport.protocol = "websocket"\n'
        self._agent = agent
        agent += "".join(map(self._proxy, self.setup.targets))
        self._frpc = self.run("frpc", "-c", self.write("frpc.toml", agent))
        self.wait_until_open()

    @property
    def _https_visitors(self) -> bool:
        return self.setup.tls and self.visitors_tls

    @property
    def _flag(self) -> str:
        return "true" if self.setup.tls else "false"

    def _proxy(self, target: str) -> str:
        upstream = self.upstreams.port(target)
        text = f'[[proxies]]\nname = "{target}"\n'
        if KINDS[target] == "tcp":
            text += f'type = "tcp"\nlocalIP = "127.0.0.1"\nlocalPort = {upstream}\n'
            return text + f"remotePort = {self._ports[target]}\n"
        if not self._https_visitors:
            text += f'type = "http"\nlocalIP = "127.0.0.1"\nlocalPort = {upstream}\n'
            return text + f'customDomains = ["{target}.localhost"]\n'
        certificate, key = make_certificate(self.folder / target, f"{target}.localhost")
        text += f'type = "https"\ncustomDomains = ["{target}.localhost"]\n[proxies.plugin]\n'
        text += f'type = "https2http"\nlocalAddr = "127.0.0.1:{upstream}"\n'
        return text + f'crtPath = "{certificate}"\nkeyPath = "{key}"\n'

    def visit(self, target: str) -> Visit:
        if KINDS[target] == "tcp":
            return Visit(self._ports[target])
        port = self._https if self._https_visitors else self._http
        return Visit(port, f"{target}.localhost", self._https_visitors)

    def crowd(self, agents: int, tunnels: int) -> None:
        kind = "https" if self.setup.tls else "http"
        for agent in range(agents):
            names = [f"a{agent}-{which}" for which in range(tunnels)]
            text = self._agent + "".join(
                f'[[proxies]]\nname = "{name}"\ntype = "{kind}"\nlocalIP = "127.0.0.1"\n'
                f'localPort = {self.upstreams.port("web")}\ncustomDomains = ["{name}.localhost"]\n'
                for name in names
            )
            frpc = self.run("frpc", "-c", self.write(f"frpc-{agent}.toml", text.replace('"error"', '"info"')))
            frpc.line(rf"{names[-1]}\W+start proxy success|\[{names[-1]}\] start proxy success")

    @property
    def processes(self) -> dict[str, Tree]:
        return {"server": Tree(self._frps.process.pid), "agent": Tree(self._frpc.process.pid)}


class FrpWebSocket(Frp):
    """With TLS: its WebSocket over TLS between the two, and plain visitors."""

    name = "frp-ws"
    special = True
    visitors_tls = False
