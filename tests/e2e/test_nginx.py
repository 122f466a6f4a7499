"""Behind a real nginx, with the very configurations that docs/nginx.md shows."""

import json
import os
import re
import socket
import ssl
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.e2e.harness import Program, free_port, reply
from tests.files import make_certificate
from tests.programs import program

DOCS = Path(__file__).parents[2] / "docs" / "nginx.md"
DOMAIN = "burrow.localhost"


def configuration(title):
    """The nginx configuration under a heading of the docs."""
    section = DOCS.read_text().split(f"## {title}\n")[1]
    return re.search(r"```nginx\n(.*?)```", section, re.DOTALL)[1]


def start_nginx(folder, text):
    """nginx in the foreground, with everything that it writes in C{folder}."""
    folder.mkdir()
    first = ["daemon off;", f"pid {folder}/pid;", "error_log stderr;"]
    if os.geteuid() == 0:
        first.append("user root;")
    if "stream {" in text:
        first.insert(0, "load_module /usr/lib/nginx/modules/ngx_stream_module.so;")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    text = text.replace("http {\n", "http {\naccess_log off;\n" + temporary)
    file = folder / "nginx.conf"
    file.write_text("\n".join([*first, text]))
    check = subprocess.run([program("nginx"), "-t", "-p", folder, "-c", file], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    return Program(program("nginx"), "-p", folder, "-c", file)


def tell(handler):
    fields = {name.lower(): value for name, value in handler.headers.items()}
    reply(handler, json.dumps(fields).encode())


class Front:
    """nginx before a world, and a visitor's way through it."""

    def __init__(self, world, port, ca_file):
        self.port = port
        self._context = ssl.create_default_context(cafile=str(ca_file))
        world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{port}"
        world.env["BURROW_CA_FILE"] = str(ca_file)

    def get(self, host, **headers):
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        connection = HTTPConnection(host)
        connection.sock = self._context.wrap_socket(plain, server_hostname=host)
        connection.request("GET", "/", headers=headers)
        return json.loads(connection.getresponse().read())


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path / "certificate", DOMAIN, f"*.{DOMAIN}")


def test_nginx_terminates_tls(make_world, upstream, tmp_path, certificate):
    cert_file, key_file = certificate
    port = free_port()
    public = f"https://{DOMAIN}:{port}"
    world = make_world(tls="off", domain=DOMAIN, public_url=public, trusted_proxy="127.0.0.1")
    text = configuration("nginx terminates TLS")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}").replace(
        "127.0.0.1:8080", f"127.0.0.1:{world.http}"
    )
    text = text.replace("/etc/ssl/example.com.pem", str(cert_file)).replace(
        "/etc/ssl/example.com.key", str(key_file)
    )
    nginx = start_nginx(tmp_path / "nginx", text.replace("example.com", DOMAIN))
    try:
        front = Front(world, port, cert_file)
        agent = world.agent("http", upstream(tell).port, "--name", "behind")  # itself through nginx
        assert agent.url == f"https://behind.{DOMAIN}:{port}"
        # What a visitor may say of itself through nginx, which passes on whatever it does not set.
        forged = (
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "Forwarded",
            "X-Real-IP",
            "X-Client-IP",
        )
        got = front.get(agent.host, **dict.fromkeys([*forged, "X-Original-URL", "Proxy"], "for=6.6.6.6"))
        assert got["x-forwarded-proto"] == "https"
        assert got["x-forwarded-for"] == "127.0.0.1, 127.0.0.1"
        assert got["x-forwarded-host"] == got["host"] == agent.host
        assert got["x-forwarded-port"] == "443"
        assert got["forwarded"] == f"for=127.0.0.1;proto=https;host={agent.host}"
        assert "6.6.6.6" not in json.dumps(got)
        # A tunnel to the server itself, and one that goes there by way of a TCP tunnel.
        itself = world.agent("http", world.http, "--name", "itself")
        port = world.agent("tcp", world.http).url.rpartition(":")[2]
        around = world.agent("http", port, "--name", "around")
        for looping in (itself, around):
            sockets = len(os.listdir(f"/proc/{world.server.process.pid}/fd"))
            assert front.get(looping.host, Accept="application/json")["error"] == "loop"
            assert len(os.listdir(f"/proc/{world.server.process.pid}/fd")) < sockets + 12
        denied = world.agent("http", 3000, BURROW_TOKEN="wrong")
        assert denied.program.wait() == 77
    finally:
        nginx.stop()


def passing_through(port, https):
    """The docs' configuration, for a port of nginx's and one of Burrow's."""
    text = configuration("nginx passes TLS through")
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8443", f"127.0.0.1:{https}")
    return text.replace("example\\.com", DOMAIN.replace(".", "\\.")).replace("example.com", DOMAIN)


def test_nginx_passes_tls_through(make_world, upstream, tmp_path, certificate):
    cert_file, key_file = certificate
    port = free_port()
    world = make_world(
        tls="files",
        cert_file=str(cert_file),
        key_file=str(key_file),
        domain=DOMAIN,
        public_url=f"https://{DOMAIN}:{port}",
    )
    nginx = start_nginx(tmp_path / "nginx", passing_through(port, world.https))
    try:
        front = Front(world, port, cert_file)
        agent = world.agent("http", upstream(tell).port, "--name", "through")
        assert agent.url == f"https://through.{DOMAIN}:{port}"
        assert front.get(agent.host)["x-forwarded-proto"] == "https"
    finally:
        nginx.stop()
