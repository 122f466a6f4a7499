"""
Browsers use an HTTP/2 connection for all names that its certificate covers and that lead to the same address
(RFC 9113 section 9.1.1): what a real one sees of tunnels whose server has a wildcard certificate, by default.
"""

import base64
import hashlib
import json
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.browser import chromium
from tests.e2e.harness import World, reply
from tests.files import make_certificate

DOMAIN = "tunnels.localhost"


def key_hash(cert_file):
    """The hash of a certificate's key, as the browser's C{--ignore-certificate-errors-spki-list} has it."""
    key = x509.load_pem_x509_certificate(cert_file.read_bytes()).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    return base64.b64encode(digest).decode()


@pytest.fixture
def wild(tmp_path):
    """A server whose one certificate is for the base domain and all names under it."""
    cert_file, key_file = make_certificate(tmp_path, DOMAIN, f"*.{DOMAIN}")
    world = World(
        tmp_path / "world",
        ca_file=cert_file,
        domain=DOMAIN,
        tls="files",
        cert_file=cert_file,
        key_file=key_file,
        workers=2,
    )
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


class Browser:
    """A Chromium that trusts some certificates, and notes what it does on the network."""

    def __init__(self, folder, *cert_files):
        self._log = folder / "netlog.json"
        self._opened = chromium(
            f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1, MAP {DOMAIN} 127.0.0.1",
            f"--ignore-certificate-errors-spki-list={','.join(map(key_hash, cert_files))}",
            f"--log-net-log={self._log}",
        )

    def __enter__(self):
        self._driver = self._opened.__enter__()
        self._driver.set_script_timeout(60)
        return self

    def __exit__(self, *error):
        self._opened.__exit__(*error)

    def text(self, url):
        """What a page says."""
        self._driver.get(url)
        return self._driver.find_element("tag name", "body").text

    @property
    def title(self):
        return self._driver.title

    def protocol(self):
        """Which protocol brought the page."""
        return self._driver.execute_script(
            "return performance.getEntriesByType('navigation')[0].nextHopProtocol"
        )

    def post(self, path):
        """The status of a request of the page's that is no mere question."""
        script = (
            "fetch(arguments[0], {method: 'POST', body: '{}'}).then(answer => arguments[1](answer.status))"
        )
        return self._driver.execute_async_script(script, path)

    def shared(self):
        """The times that a connection made for another host was taken, once the browser is closed."""
        noted = json.loads(self._log.read_text())  # whole, since the browser is closed
        number = noted["constants"]["logEventTypes"]["HTTP2_SESSION_POOL_FOUND_EXISTING_SESSION_FROM_IP_POOL"]
        return [event for event in noted["events"] if event["type"] == number]


def test_names_that_share_a_connection(wild, upstream, tcp_upstream, tmp_path):
    own_cert, own_key = make_certificate(tmp_path, f"sealed.{DOMAIN}", stem="sealed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_cert, own_key)

    def sealed(plain):
        with context.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nsealed")

    for name in ("one", "two"):
        port = upstream(lambda request: reply(request, request.headers["X-Forwarded-Host"].encode())).port
        wild.agent("http", port, "--name", name).ready()
    wild.agent("tls", tcp_upstream(sealed).port, "--name", "sealed").ready()
    with Browser(tmp_path, wild.ca_file, own_cert) as browser:

        def url(name, path="/"):
            return f"https://{name}:{wild.https}{path}"

        one, two = f"one.{DOMAIN}", f"two.{DOMAIN}"
        for host in (one, two, one):
            assert browser.text(url(host)).partition(":")[0] == host
            assert browser.protocol() == "h2"
        # A tunnel with TLS of its own, and the server's own host: each is asked on the wrong connection
        # first, and says so (421), upon which the browser makes one of its own.
        assert browser.text(url(f"sealed.{DOMAIN}")) == "sealed"
        browser.text(url(DOMAIN))
        assert "Burrow" in browser.title
        assert browser.protocol() == "http/1.1"
        assert browser.post("/_burrow/api/v1/tokens") == 401
        assert browser.text(url(two)).partition(":")[0] == two
    assert len(browser.shared()) >= 4
