"""nginx as a proxy: the same machine's work without a tunnel, in C."""

from __future__ import annotations

from bench.processes import Tree
from bench.subjects.base import Subject, Visit
from tests.e2e.harness import free_port
from tests.e2e.test_nginx import start_nginx
from tests.files import make_certificate

_CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 4000; }}
http {{
    keepalive_requests 100000000;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    ssl_certificate {certificate};
    ssl_certificate_key {key};
{servers}
}}
"""
_SERVER = """
    upstream {target} {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{ listen 127.0.0.1:{port}{ssl} backlog=4096; location / {{ proxy_pass http://{target}; }} }}
"""


class Nginx(Subject):
    """One worker process, with connections to the upstream that are kept."""

    name = "nginx"
    can = frozenset({"http", "https", "http2"})
    programs = ("nginx",)

    def start(self) -> None:
        certificate, key = make_certificate(self.folder / "certificate", "web.localhost")
        self._ports = {target: free_port() for target in self.setup.targets}
        servers = "".join(
            _SERVER.format(
                target=target,
                upstream=self.upstreams.port(target),
                port=port,
                ssl=" ssl" * self.setup.tls + " http2" * self.setup.http2,
            )
            for target, port in self._ports.items()
        )
        text = _CONFIGURATION.format(certificate=certificate, key=key, servers=servers)
        self._nginx = start_nginx(self.folder / "nginx", text)
        self._started.append(self._nginx)
        self.wait_until_open()

    def visit(self, target: str) -> Visit:
        return Visit(self._ports[target], "web.localhost", self.setup.tls)

    @property
    def processes(self) -> dict[str, Tree]:
        return {"server": Tree(self._nginx.process.pid)}
