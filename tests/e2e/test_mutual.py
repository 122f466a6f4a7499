"""Visitors who show a certificate: curl, a WebSocket client, and what the openssl program made."""

import json
import shutil
import ssl
import subprocess

import pytest

from tests.e2e.harness import Upstream, World, burrow, reply
from tests.e2e.websockets import accept_websocket, websocket_status
from tests.files import make_certificate

DOMAIN = "burrow.localhost"
NEW = "-newkey rsa:2048 -nodes"


def made(folder):
    """CAs and certificates of clients, as people make them."""
    folder.mkdir()
    lines = []
    for ca in ("ca", "other"):
        lines.append(
            f"req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 9 -subj /CN={ca}"
        )
    for name, ca, more in (
        ("alice", "ca", ""),
        ("over", "ca", "-days -1"),
        ("servers", "ca", "-extfile servers.ext"),
        ("stranger", "other", ""),
    ):
        lines.append(f"req {NEW} -keyout {name}.key -out {name}.csr -subj /O=Bakery/CN={name}")
        lines.append(
            f"x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -set_serial 7 -out {name}.pem "
            f"{more or '-days 3'}"
        )
    (folder / "servers.ext").write_text("extendedKeyUsage = serverAuth\n")
    for line in lines:
        done = subprocess.run(
            ["openssl", *line.split()], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return folder


class Tunnels:
    """A server with two processes and a wildcard certificate, and an agent with three tunnels."""

    def __init__(self, folder):
        self.files = made(folder / "made")
        cert, key = make_certificate(folder / "tls", DOMAIN, f"*.{DOMAIN}")
        self.world = World(
            folder, domain=DOMAIN, tls="files", cert_file=cert, key_file=key, ca_file=cert, workers=2
        )
        self.world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{self.world.https}"
        self.came = []
        self.service = Upstream(self._answer)
        self.world.start_server()
        self.world.env["BURROW_TOKEN"] = self.world.token()
        file = folder / "agent.toml"
        file.write_text(
            "".join(
                f"[tunnels.{name}]\nupstream = {self.service.port}\n{line}\n"
                for name, line in (
                    ("mutual", f'client-ca = "{self.files}/ca.pem"'),
                    ("either", f'client-ca = "{self.files}/ca.pem"\npassword = "open sesame"'),
                    ("open", ""),
                )
            )
        )
        self.agent = self.world.agent("start", "--config", file)

    def _answer(self, handler):
        self.came.append(handler.headers)
        if handler.headers.get("Upgrade"):
            accept_websocket(handler)
        else:
            reply(handler, b"hello")

    def curl(self, name, *arguments, who=None, sni=None):
        """A visitor's curl: status, body, and whether the service was asked."""
        before = len(self.came)
        host = f"{sni or name}.{DOMAIN}"
        shows = ["--cert", self.files / f"{who}.pem", "--key", self.files / f"{who}.key"] if who else []
        done = subprocess.run(
            ["curl", "-sS", "--cacert", self.world.ca_file, "-w", "\n%{http_code}", *shows, *arguments]
            + ["--connect-to", f"::127.0.0.1:{self.world.https}", f"https://{host}:{self.world.https}/"]
            + (["-H", f"Host: {name}.{DOMAIN}:{self.world.https}"] if sni else []),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body, len(self.came) > before

    def socket(self, who=None):
        """The status of a WebSocket handshake by a real client."""
        context = ssl.create_default_context(cafile=str(self.world.ca_file))
        if who:
            context.load_cert_chain(self.files / f"{who}.pem", self.files / f"{who}.key")
        return websocket_status(self.world, f"mutual.{DOMAIN}", context=context)

    def close(self):
        self.world.close()
        self.service.close()


@pytest.fixture(scope="module")
def tunnels(tmp_path_factory):
    assert shutil.which("curl")
    made = Tunnels(tmp_path_factory.mktemp("mutual"))
    made.agent.ready(3)
    yield made
    made.close()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_who_is_let_in(tunnels, version):
    forged = ["-H", "Burrow-User: root", "-H", "Burrow-User-Certificate-Subject: CN=root"]
    for _ in range(4):  # whichever process accepts it
        assert tunnels.curl("mutual", version, *forged, who="alice") == (200, "hello", True)
    assert tunnels.came[-1].get_all("Burrow-User") == ["alice"]
    assert tunnels.came[-1].get_all("Burrow-User-Certificate-Subject") == ["CN=alice,O=Bakery"]
    assert len(tunnels.came[-1]["Burrow-User-Certificate-Sha256"]) == 64
    for who, words in (
        (None, "signed by this tunnel's CA"),
        ("stranger", "not valid here"),
        ("over", "expired"),
        ("servers", "lacks clientAuth"),
    ):
        status, page, asked = tunnels.curl("mutual", version, *forged, who=who)
        assert (status, asked) == (401, False)
        assert words in page
    assert tunnels.curl("open", version, *forged, who="alice")[0] == 200
    assert tunnels.came[-1]["Burrow-User"] is None, "nobody is asked for a certificate there"


def test_web_sockets(tunnels):
    assert tunnels.socket("alice") == 101
    assert tunnels.came[-1]["Burrow-User"] == "alice"
    before = len(tunnels.came)
    for who in (None, "stranger", "over"):
        assert tunnels.socket(who) == 401
    assert len(tunnels.came) == before


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_another_hosts_connection_is_not_enough(tunnels, version):
    """The wildcard certificate covers both, so the request would else belong on the connection."""
    for sni in ("open", "either"):
        status, _, asked = tunnels.curl("mutual", version, who="alice", sni=sni)
        assert (status, asked) == (421, False)
    assert tunnels.curl("open", version, who="alice", sni="mutual")[0] == 200


def test_one_door_is_enough(tunnels, tmp_path):
    assert tunnels.curl("either", who="alice") == (200, "hello", True)
    jar = str(tmp_path / "jar")
    browser = ["-b", jar, "-c", jar, "-H", "Accept: text/html"]
    status, page, asked = tunnels.curl("either", *browser)
    assert (status, asked) == (401, False)
    assert 'action="/_burrow/sign-in"' in page


def test_where_the_server_ends_no_tls(tmp_path):
    world = World(tmp_path, tls="off")
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        made(tmp_path / "made")
        agent = world.agent("http", 3000, "--client-ca", tmp_path / "made" / "ca.pem")
        agent.program.wait()
        (told,) = agent.events("error")
        assert "the server's own TLS port, and the server has none" in told["message"]
    finally:
        world.close()


def test_files_that_hold_none(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    program = burrow("http", "3000", "--client-ca", file)
    assert program.wait() == 78
    assert "write a file of CAs' certificates in PEM form" in json.dumps(program.output)
