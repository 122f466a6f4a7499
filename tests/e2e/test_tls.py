"""The TLS port: names and their certificates, files that change, no TLS at all; IPv6."""

import socket
import ssl
import subprocess

import pytest

from tests.e2e.harness import burrow, free_port, read_response, reply, wait_for
from tests.files import make_certificate

DOMAIN = "burrow.localhost"


def serial(port, host, cafile):
    context = ssl.create_default_context(cafile=str(cafile))
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert()["serialNumber"]


def test_certificate_of_every_name(world):
    ca_file = world.folder / "state" / "ca.pem"
    serials = {
        serial(world.https, host, ca_file)
        for host in ("localhost", "a.localhost", "b.localhost", "127.0.0.1")
    }
    assert len(serials) == 3  # the address and the base domain share one


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
    assert b"ALPN protocol: http/1.1" in done.stdout


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
        def connect(self, host, timeout=30):
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
