"""C{burrow http --end-to-end}: the agent gets its certificate from Pebble through its own tunnel."""

import re
import socket
import ssl
from http.client import HTTPConnection

import pytest
from cryptography import x509

from tests.e2e.harness import free_port, reply
from tests.pebble import Pebble


@pytest.fixture
def pebble():
    https = free_port()
    made = Pebble(https)
    yield https, made
    made.close()


def test_key_and_certificate_are_the_agents(pebble, make_world, upstream):
    https, ca = pebble
    world = make_world(domain="burrow.localhost", https=f"127.0.0.1:{https}")
    world.https = https
    world.env["BURROW_SERVER"] = f"https://burrow.localhost:{https}"
    service = upstream(lambda handler: reply(handler, b"hello " + handler.path.encode()))
    arguments = ("http", service.port, "--name", "mine", "--end-to-end", "--acme-directory", ca.directory)
    agent = world.agent(*arguments, "--acme-ca-file", ca.ca_file)
    assert agent.url == f"https://mine.burrow.localhost:{https}"
    agent.program.line("no X-Forwarded-For, no rules")
    agent.program.line("has a certificate until")

    def visit():
        context = ssl.create_default_context(cafile=str(ca.root))
        connection = HTTPConnection("mine.burrow.localhost", timeout=60)
        plain = socket.create_connection(("127.0.0.1", https), 60)
        connection.sock = context.wrap_socket(plain, server_hostname="mine.burrow.localhost")
        return connection

    connection = visit()
    shown = x509.load_der_x509_certificate(connection.sock.getpeercert(True))
    for path in ("/a", "/b"):
        connection.request("GET", path)
        assert connection.getresponse().read() == b"hello " + path.encode()
    connection.close()
    # The server has neither; the agent, when it is started again, uses what it has.
    pem = (world.folder / "agent-state/burrow/end-to-end/mine.burrow.localhost.pem").read_text()
    assert "PRIVATE KEY" in pem
    serial = format(shown.serial_number, "x")
    assert not [path for path in (world.folder / "state").rglob("*") if serial in path.name]
    agent.program.stop()
    again = world.agent(*arguments, "--acme-ca-file", ca.ca_file)
    again.ready()
    connection = visit()
    assert x509.load_der_x509_certificate(connection.sock.getpeercert(True)) == shown
    service.close()
    connection.close()
    connection = visit()
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 502
    assert re.search(b"cannot be reached", answer.read())
