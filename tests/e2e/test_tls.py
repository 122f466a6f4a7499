"""The TLS port: names and their certificates, files that change, no TLS at all; IPv6."""

import socket
import ssl
import subprocess

import pytest

from tests.e2e.harness import burrow, free_port, read_response, reply, wait_for
from tests.files import make_certificate
from tests.server.edge.test_hello import message, records, server_name

DOMAIN = "burrow.localhost"


def serial(port, host, cafile, *, check_name=True):
    context = ssl.create_default_context(cafile=str(cafile))
    context.check_hostname = check_name
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert()["serialNumber"]


def test_certificate_of_every_name(world, upstream):
    """Each tunnel has its own; names without an owner share one, so that a further name costs nothing."""
    service = upstream(lambda handler: reply(handler, b"hello")).port
    one, two = (world.agent("http", service, "--name", f"sni-{number}") for number in range(2))
    ca_file = world.folder / "state" / "ca.pem"
    hosts = ("localhost", one.host, two.host, "127.0.0.1")
    serials = {serial(world.https, host, ca_file) for host in hosts}
    assert len(serials) == 3  # the address and the base domain share one
    strangers = {
        serial(world.https, f"{label}.localhost", ca_file, check_name=False)
        for label in ("nobody", "anybody", "a.b", "x" * 60)
    }
    assert len(strangers) == 1
    assert not strangers & serials


def test_request_for_another_name_than_the_handshakes(world, upstream):
    """RFC 9110 section 15.5.20: 421, if the certificate does not cover it, too."""
    service = upstream(lambda handler: reply(handler, b"hello")).port
    one, two = (world.agent("http", service, "--name", f"sni-{number}") for number in range(2))
    assert world.get(one.host, sni=one.host)[0] == 200
    for host in (two.host, "localhost", "127.0.0.1"):
        status, headers, _ = world.get(host, sni=one.host)
        assert (status, headers["Burrow-Page"]) == (421, "misdirected"), host
    assert world.get(two.host, sni="localhost")[0] == 421
    assert world.get("127.0.0.1", sni="localhost")[0] == 200
    with world.connect("x", sni=one.host) as visitor:
        for host, status in ((one.host, 200), (one.host, 200), (two.host, 421)):
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host.upper()}:443\r\n\r\n".encode())
            assert read_response(visitor)[0] == status
        assert visitor.recv(100) == b"", "a new connection is to be made"


def test_handshakes_that_offer_nothing_of_ours(world):
    """RFC 7301 section 3.2: alert 120. RFC 6066 section 3: 112."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for protocol in ("h2", "acme-tls/1"):
        context.set_alpn_protocols([protocol])
        with socket.create_connection(("127.0.0.1", world.https), 20) as plain:
            with pytest.raises(ssl.SSLError) as caught:
                context.wrap_socket(plain, server_hostname="localhost")
            assert "alert no application protocol" in str(caught.value).lower().replace("_", " ")
    hello = records(message(server_name(b"\xff.localhost")))
    with socket.create_connection(("127.0.0.1", world.https), 20) as plain:
        for number in range(len(hello)):
            plain.sendall(hello[number : number + 1])
        assert plain.recv(100) == b"\x15\x03\x03\x00\x02\x02\x70"
    assert "Traceback" not in world.server.output


def test_authority_outlives_a_restart_and_its_key_is_private(make_world):
    world = make_world()
    before = (world.folder / "state" / "ca.pem").read_bytes()
    world.server.stop()
    world.start_server()
    assert (world.folder / "state" / "ca.pem").read_bytes() == before
    assert (world.folder / "state" / "ca-key.pem").stat().st_mode & 0o777 == 0o600


def test_curl_and_openssl_agree(world, upstream):
    """Other TLS implementations than Python's: what people have."""
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"hello")).port)
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{world.https}", "-servername", agent.host),
            *("-CAfile", world.folder / "state" / "ca.pem", "-verify_return_error", "-alpn", "h2,http/1.1"),
        ],
        input=b"",
        capture_output=True,
        timeout=30,
    )
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"ALPN protocol: h2" in done.stdout


def test_files_that_change_are_read_again(make_world, tmp_path, upstream):
    cert_file, key_file = make_certificate(tmp_path / "c", DOMAIN, f"*.{DOMAIN}")
    world = make_world(tls="files", cert_file=str(cert_file), key_file=str(key_file), domain=DOMAIN)
    world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{world.https}"
    world.env["BURROW_CA_FILE"] = str(cert_file)
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"hello")).port)
    agent.ready()
    before = serial(world.https, agent.host, cert_file)
    new_cert, new_key = make_certificate(tmp_path / "c", DOMAIN, f"*.{DOMAIN}", stem="new")
    key_file.write_bytes(new_key.read_bytes())
    cert_file.write_bytes(new_cert.read_bytes())

    def changed():
        try:
            return serial(world.https, agent.host, new_cert) != before
        except ssl.SSLError:
            return False

    wait_for(changed, "the new certificate", 20)
    # One certificate for several names: what it covers may be asked for on any connection.
    world.ca_file = new_cert
    assert world.get(agent.host, sni=DOMAIN)[0] == 200
    assert world.get(f"nobody.{DOMAIN}", sni=agent.host)[0] == 404
    assert world.get("other.example", sni=agent.host)[0] == 421


def test_name_that_the_file_does_not_cover_is_not_opened(make_world, tmp_path):
    cert_file, key_file = make_certificate(tmp_path / "c", DOMAIN, f"covered.{DOMAIN}")
    world = make_world(tls="files", cert_file=str(cert_file), key_file=str(key_file), domain=DOMAIN)
    world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{world.https}"
    world.env["BURROW_CA_FILE"] = str(cert_file)
    agent = world.agent("http", 3000, "--name", "other")
    assert agent.program.wait() == 77
    assert agent.events("error")[0]["error"] == "CertificateFailed"
    world.agent("http", 3000, "--name", "covered").ready()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tls", "files"],
        ["--tls", "files", "--cert-file", "/nowhere", "--key-file", "/nowhere"],
        ["--tls", "magic"],
        ["--https", "nonsense"],
        ["--https", "off"],
        ["--tls", "off", "--http", "off"],
        ["--tcp-ports", "9-1"],
        ["--domain", "not a domain"],
        ["--trusted-proxy", "everybody"],
        ["--response-timeout", "-1"],
        ["--public-url", "https://elsewhere.example"],
        ["--store", "mysql://x"],
        ["--https", "203.0.113.1:0"],
        ["--config", "/nowhere.toml"],
        ["--node", "0.0.0.0:7000"],
        ["--node", "node.example.com:7000"],
        ["--node", "203.0.113.1:7000"],
        ["--node", "127.0.0.1:7000", "--workers", "2"],
        ["--tls", "acme"],
        ["--tls", "acme", "--acme-directory", "http://ca.example/dir"],
        [
            *("--tls", "acme", "--domain", "x.example", "--acme-staging"),
            *("--acme-directory", "https://ca.example"),
        ],
        ["--tls", "acme", "--domain", "x.example", "--acme-eab-kid", "kid"],
        ["--tls", "acme", "--domain", "x.example", "--acme-ca-file", "/nowhere"],
        ["--tls", "acme", "--domain", "x.example", "--store-key", "/nowhere"],
        ["--tls", "acme", "--domain", "x.example", "--acme-fallback-eab-kid", "kid"],
        ["--tls", "acme", "--domain", "x.example", "--acme-fallback-profile", "shortlived"],
    ],
)
def test_wrong_server_configurations(arguments, tmp_path):
    usual = [] if arguments[0] == "--https" else ["--https", "127.0.0.1:0"]
    usual += [] if "--http" in arguments else ["--http", "off" if "--tls" not in arguments else "127.0.0.1:0"]
    server = burrow("server", *usual, *arguments, "--state", tmp_path)
    assert server.wait() == 78, server.output
    assert "burrow: " in server.output
    assert "Traceback" not in server.output


def test_configuration_file_and_environment(tmp_path, upstream):
    port = free_port()
    file = tmp_path / "server.toml"
    file.write_text(f"[server]\nhttps = '127.0.0.1:{port}'\nhttp = 'off'\ndomain = 'wrong.localhost'\n")
    server = burrow(
        "server",
        "--config",
        file,
        env={"BURROW_STATE": str(tmp_path / "state"), "BURROW_DOMAIN": "right.localhost"},
    )
    try:
        server.line(f"serves https://right.localhost:{port}")
    finally:
        server.stop()
    assert (tmp_path / "state" / "ca.pem").exists()


def test_ipv6_throughout(tmp_path, upstream):
    from tests.e2e.harness import World

    class Six(World):
        def connect(self, host, timeout=30, sni=None):
            plain = socket.create_connection(("::1", self.https), timeout)
            context = ssl.create_default_context(cafile=str(self.folder / "state" / "ca.pem"))
            return context.wrap_socket(plain, server_hostname=host)

    world = Six(tmp_path / "six")
    arguments = ["--https", f"[::1]:{world.https}", "--http", "off", "--state", world.folder / "state"]
    world.server = burrow("server", *arguments, "--tcp-ports", world.ports)
    world.started.append(world.server)
    try:
        world.server.line("Burrow serves")
        world.env |= {"BURROW_TOKEN": world.token(), "BURROW_SERVER": f"https://[::1]:{world.https}"}
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        service = upstream(lambda handler: reply(handler, handler.headers["Forwarded"].encode()))
        agent = world.agent("http", service.port)
        assert b'for="[::1]"' in world.get(agent.host)[2]
        address = world.agent("tcp", f"[::1]:{listener.getsockname()[1]}")
        with socket.create_connection(("::1", int(address.url.rpartition(":")[2])), 20) as visitor:
            far, _ = listener.accept()
            far.sendall(b"six")
            assert visitor.recv(10) == b"six"
            far.close()
        listener.close()
        with world.connect("::1") as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n")
            assert read_response(visitor)[0] == 200
    finally:
        world.close()
