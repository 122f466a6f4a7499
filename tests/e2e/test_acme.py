"""C{--tls acme} against Pebble, Let's Encrypt's own test CA."""

import base64
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509

from tests.e2e.acme import DOMAIN, acme_server, acme_world, shown
from tests.e2e.harness import burrow, free_port, reply, wait_for
from tests.e2e.test_nginx import configuration, passing_through, start_nginx
from tests.e2e.test_restart import Load, reload
from tests.files import make_certificate
from tests.pebble import Pebble
from tests.programs import program
from tests.redis import RedisServer


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    """A world and its Pebble; private keys are encrypted in the store."""
    folder = tmp_path_factory.mktemp("acme")
    (folder / "secret").write_text("a secret that nobody finds by trying\n")
    with acme_server(folder, store_key=folder / "secret") as pair:
        yield pair


@pytest.fixture
def make_acme(tmp_path):
    """Makes pairs of a started world and its Pebble."""
    with contextlib.ExitStack() as made:
        number = itertools.count()
        yield lambda pebble_options=None, **options: made.enter_context(
            acme_server(tmp_path / f"acme{next(number)}", pebble_options=pebble_options, **options)
        )


@pytest.fixture
def hello(upstream):
    return upstream(lambda handler: reply(handler, b"hello")).port


def test_curl_believes_the_url(acme, hello, tmp_path):
    world, pebble = acme
    agent = world.agent("http", hello, "--name", "curl")
    where = f"{agent.host}:{world.https}:127.0.0.1"
    curl = [program("curl"), "--silent", "--show-error", "--noproxy", "*", "--cacert", pebble.root]
    done = subprocess.run([*curl, "--resolve", where, agent.url], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
    # The full chain: the intermediate comes with it, and the root is not needed from the server.
    client = [
        program("openssl"),
        "s_client",
        "-connect",
        f"127.0.0.1:{world.https}",
        "-servername",
        agent.host,
    ]
    text = subprocess.run(
        [
            *client,
            "-CAfile",
            pebble.root,
            "-verify_return_error",
            "-verify_hostname",
            agent.host,
            "-showcerts",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        text=True,
    )
    assert "Verify return code: 0 (ok)" in text.stdout
    assert text.stdout.count("BEGIN CERTIFICATE") == 2
    assert "prime256v1" in text.stdout or "id-ecPublicKey" in text.stdout


def test_fifty_tunnels_at_once_and_one_order_a_name(acme, hello, tmp_path):
    world, pebble = acme
    world.agent("http", hello, "--name", "before").ready()
    before = pebble.orders()
    file = tmp_path / "fifty.toml"
    file.write_text("".join(f"[tunnels.many{number}]\nupstream = {hello}\n" for number in range(50)))
    agent = world.agent("start", "--config", file)
    for event in agent.ready(50):
        assert world.get(event["url"].split("/")[2].split(":")[0])[2] == b"hello"
    assert pebble.orders() == before + 50
    agent.program.stop()


def test_several_agents_for_one_name_and_one_order(acme, hello):
    world, pebble = acme
    before = pebble.orders()
    agents = [world.agent("http", hello, "--name", "wanted") for _ in range(6)]
    wait_for(lambda: all(agent.events("ready") for agent in agents), "all agents")
    # Each took the tunnel over from the one before: one is left.
    wait_for(lambda: sum(agent.program.process.poll() is None for agent in agents) == 1, "one to be left")
    assert world.get(f"wanted.{DOMAIN}")[2] == b"hello"
    assert pebble.orders() == before + 1


def test_certificates_outlive_the_server(acme, hello):
    world, pebble = acme
    agent = world.agent("http", hello, "--name", "kept")
    agent.ready()
    before, certificate = pebble.orders(), shown(world, agent.host)
    world.server.kill()
    world.server.wait()
    world.start_server()
    wait_for(lambda: world.get(agent.host)[2] == b"hello", "the tunnel")
    assert shown(world, agent.host) == certificate
    assert pebble.orders() == before
    reload(world)
    assert world.get(agent.host)[2] == b"hello"
    assert shown(world, agent.host) == certificate


def test_name_that_nobody_reserved_causes_no_order(acme):
    world, pebble = acme
    own = wait_for(lambda: shown(world, DOMAIN), "the base domain's certificate")
    before = pebble.orders()
    for name in (f"stranger.{DOMAIN}", f"a.b.{DOMAIN}"):
        assert shown(world, name) is None
    assert shown(world, "other.example") == own
    assert pebble.orders() == before


def test_challenge_that_is_not_open_has_no_answer(acme):
    world, _ = acme
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    with (
        socket.create_connection(("127.0.0.1", world.https), 20) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"),
    ):
        context.wrap_socket(plain, server_hostname=f"curl.{DOMAIN}")


def test_dns_that_points_elsewhere(acme, hello):
    """The agent is told why; nothing of the tunnel is there; once DNS is right it opens."""
    world, pebble = acme
    host = f"elsewhere.{DOMAIN}"
    pebble.point(host, "127.0.0.9")
    agent = world.agent("http", hello, "--name", "elsewhere")
    assert agent.program.wait() == 77
    assert f"Does DNS for {host} point here" in agent.program.output
    assert not agent.events("ready")
    assert shown(world, host) is None
    pebble.point(host, "127.0.0.1")
    agent = world.agent("http", hello, "--name", "elsewhere")
    agent.ready()
    assert world.get(host)[2] == b"hello"


def test_failed_validations_are_limited(acme, hello):
    """Four an hour: the fifth is not even asked for, whatever the agent does; a restart forgets nothing."""
    world, pebble = acme
    pebble.point(f"failing.{DOMAIN}", "127.0.0.9")

    def refused():
        agent = world.agent("http", hello, "--name", "failing")
        assert agent.program.wait() == 77
        return agent.program.output

    for _ in range(4):
        assert "Does DNS for" in refused()
    asked = pebble.log.read_text().count("POST /order-plz")
    assert "failed 4 validations within an hour" in refused()
    world.server.kill()
    world.server.wait()
    world.start_server()
    assert "failed 4 validations within an hour" in refused()
    assert pebble.log.read_text().count("POST /order-plz") == asked


def test_certs_shows_them(acme, hello):
    world, _ = acme
    world.agent("http", hello, "--name", "listed").ready()
    command = burrow("certs", "--state", world.folder / "state")
    assert command.wait() == 0
    assert "LAST ERROR" in command.lines[0]
    assert any(line.startswith(f"listed.{DOMAIN} ") and "Pebble" in line for line in command.lines)

    def told():
        events = burrow("events", "--state", world.folder / "state")
        assert events.wait() == 0
        return f"listed.{DOMAIN} has a certificate" in events.output and "agent-connected" in events.output

    wait_for(told, "the events")


def test_one_token_gets_its_share(make_acme, hello):
    world, pebble = make_acme(acme_token_limit="1")
    world.agent("http", hello, "--name", "first").ready()
    asked = pebble.log.read_text().count("POST /order-plz")
    refused = world.agent("http", hello, "--name", "second")
    assert refused.program.wait() == 77
    assert (
        "limit of 1 certificate for new names of one token a week is reached until" in refused.program.output
    )
    assert pebble.log.read_text().count("POST /order-plz") == asked
    command = burrow("certs", "--state", world.folder / "state")
    assert command.wait() == 0
    assert any(
        line.startswith(f"second.{DOMAIN} ") and "of one token a week" in line for line in command.lines
    ), command.output
    world.agent("http", hello, "--name", "third", BURROW_TOKEN=world.token("another")).ready()


def test_certificates_are_migrated(acme, hello, tmp_path):
    world, pebble = acme
    world.agent("http", hello, "--name", "moved").ready()
    before = pebble.orders()
    world.server.stop()
    redis = RedisServer()
    state = world.folder / "state"
    try:
        for source, target in (
            (["--state", state], f"redis://127.0.0.1:{redis.port}"),
            (["--store", f"redis://127.0.0.1:{redis.port}"], tmp_path / "back"),
        ):
            command = burrow("store", "migrate", target, *source)
            assert command.wait() == 0, command.output
        state.rename(tmp_path / "old")
        (tmp_path / "back").rename(state)
        with contextlib.closing(sqlite3.connect(state / "burrow.db", timeout=20)) as database:
            query = "SELECT text FROM notes WHERE space IN ('certificates', 'acme-accounts')"
            texts = [text for (text,) in database.execute(query)]
        assert len(texts) > 2
        assert all("BEGIN ENCRYPTED PRIVATE KEY" in text for text in texts)
    finally:
        redis.stop()
    world.start_server()
    wait_for(lambda: world.get(f"moved.{DOMAIN}")[2] == b"hello", "the tunnel")
    assert pebble.orders() == before


def test_half_of_all_nonces_refused(make_acme, hello):
    world, _ = make_acme({"nonce_reject": 50})
    for number in range(5):
        agent = world.agent("http", hello, "--name", f"nonce{number}")
        assert world.get(agent.host)[2] == b"hello"


def test_external_account_binding(make_acme, hello):
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    world, _ = make_acme({"eab": {"kid-1": key}}, acme_eab_kid="kid-1", acme_eab_key=key)
    agent = world.agent("http", hello, "--name", "bound")
    assert world.get(agent.host)[2] == b"hello"
    assert key not in world.server.output


def test_ca_that_does_not_answer(make_acme, hello):
    """Names that have a certificate open; a new one is refused with the reason, and not served."""
    world, pebble = make_acme()
    agent = world.agent("http", hello, "--name", "known")
    assert world.get(agent.host)[2] == b"hello"
    agent.program.stop()
    pebble.stop()
    agent = world.agent("http", hello, "--name", "known")
    assert world.get(agent.host)[2] == b"hello"
    new = world.agent("http", hello, "--name", "new")
    assert new.program.wait() == 77
    assert "cannot be reached" in new.program.output
    assert shown(world, f"new.{DOMAIN}") is None


def test_process_that_orders_is_killed(make_acme, hello):
    """Its lock is free again soon: the agent comes back and has its tunnel."""
    world, pebble = make_acme()
    world.agent("http", hello, "--name", "before").ready()
    pebble.process.send_signal(signal.SIGSTOP)
    agent = world.agent("http", hello, "--name", "killed")

    def ordering():
        with contextlib.closing(
            sqlite3.connect(world.folder / "state" / "burrow.db", timeout=20)
        ) as database:
            query = "SELECT 1 FROM live_notes WHERE space = 'acme-locks' AND key = ?"
            return database.execute(query, (f"killed.{DOMAIN}",)).fetchone()

    wait_for(ordering, "the order to begin")
    (worker,) = world.workers
    os.kill(worker, signal.SIGKILL)
    pebble.process.send_signal(signal.SIGCONT)
    assert world.get(agent.host)[2] == b"hello"
    assert agent.events("disconnected")


def test_second_ca(make_acme, tmp_path, hello):
    """The first does not answer: the second issues."""
    https = free_port()
    first, second = Pebble(https), Pebble(https)
    both = tmp_path / "both.pem"
    both.write_bytes(first.ca_file.read_bytes() + second.ca_file.read_bytes())
    first.stop()
    world = acme_world(tmp_path / "two", first, https, acme_fallback=second.directory, acme_ca_file=both)
    world.ca_file = second.root
    world.env["BURROW_CA_FILE"] = str(second.root)
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        agent = world.agent("http", hello, "--name", "second")
        assert world.get(agent.host)[2] == b"hello"
    finally:
        world.close()
        first.close()
        second.close()


@contextlib.contextmanager
def ca_behind_nginx(folder, pebble, locations):
    """nginx before Pebble, for what Pebble cannot do; its directory and its own certificate."""
    port = free_port()
    certificate, key = make_certificate(folder / "front", "localhost")
    text = f"""
events {{}}
http {{
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {locations.replace("PORT", str(port))}
        location / {{
            proxy_pass https://127.0.0.1:{pebble.port};
            proxy_set_header Host $http_host;
        }}
        access_log {folder}/access;
    }}
}}
"""
    nginx = start_nginx(folder / "nginx", text)
    try:
        yield {"acme_directory": f"https://localhost:{port}/dir", "acme_ca_file": certificate}
    finally:
        nginx.stop()


def test_ca_whose_rate_limit_is_reached(tmp_path):
    """
    Pebble has no limits: nginx in front of it answers new orders as Let's Encrypt does then. The log tells
    until when, and the CA is not asked again before.
    """
    https = free_port()
    pebble = Pebble(https)
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many", "status": 429}
    refusing = f"""
        location = /order-plz {{
            default_type application/problem+json;
            add_header Retry-After 3600 always;
            return 429 '{json.dumps(problem)}';
        }}"""
    try:
        with ca_behind_nginx(tmp_path, pebble, refusing) as options:
            world = acme_world(tmp_path / "world", pebble, https, **options)
            for _ in range(2):
                world.start_server()
                wait_for(lambda: "no new certificate" in world.server.output, "the log to tell")
                assert "rate limit is reached until" in world.server.output
                # nginx writes it down when it has answered.
                wait_for(lambda: (tmp_path / "access").read_text().count("/order-plz") == 1, "its log")
                world.server.stop()
            command = burrow("certs", "--state", world.folder / "state")
            assert command.wait() == 0
            assert "rate limit is reached" in command.output
    finally:
        pebble.close()


def test_ca_says_when_to_renew(tmp_path):
    """
    RFC 9773, which Debian's Pebble does not know: nginx in front of it says that every certificate is to be
    renewed, the first time it is asked after one.
    """
    https = free_port()
    pebble = Pebble(https)
    paths = {
        "newNonce": "nonce-plz",
        "newAccount": "sign-me-up",
        "newOrder": "order-plz",
        "renewalInfo": "renewal-info",
    }
    directory = {name: f"https://localhost:PORT/{path}" for name, path in paths.items()}
    window = {"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}
    informing = f"""
        location = /dir {{ default_type application/json; return 200 '{json.dumps(directory)}'; }}
        location /renewal-info/ {{
            default_type application/json;
            add_header Retry-After 21600 always;
            return 200 '{json.dumps(window)}';
        }}"""
    try:
        with ca_behind_nginx(tmp_path, pebble, informing) as options:
            world = acme_world(tmp_path / "world", pebble, https, **options)
            world.start_server()
            # By Pebble's log, since the first one may be replaced before anybody saw it.
            wait_for(lambda: pebble.orders() >= 2, "another certificate")
            first, second = pebble.serials()[:2]

            def is_shown():
                certificate = shown(world, DOMAIN)
                return certificate and x509.load_der_x509_certificate(certificate).serial_number != first

            wait_for(is_shown, "another certificate")
            assert first != second
            asked = (tmp_path / "access").read_text()
            name = re.search(r"GET /renewal-info/(\S+)", asked)[1]
            encoded = name.partition(".")[2]
            assert int.from_bytes(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))) == first
            world.server.stop()
    finally:
        pebble.close()


def test_renewal_under_load(make_acme, hello):
    """A certificate of 24 s is renewed in time; no request fails, new handshakes show the new one."""
    world, _ = make_acme({"validity": 24})
    agent = world.agent("http", hello, "--name", "short")
    agent.ready()
    first = shown(world, agent.host)
    load = Load(world, agent.host, 2)
    wait_for(lambda: shown(world, agent.host) != first, "another certificate", 60)
    time.sleep(1)
    load.stop()
    assert not load.failures, load.failures[:3]
    assert load.answers > 20
    assert resumed(world, agent.host)


def resumed(world, name):
    """Whether a second handshake resumes the first one's session."""
    context = ssl.create_default_context(cafile=str(world.ca_file))

    def ask(session):
        plain = socket.create_connection(("127.0.0.1", world.https), 20)
        with context.wrap_socket(plain, server_hostname=name, session=session) as secure:
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            while secure.recv(4096):
                pass
            return secure.session, secure.session_reused

    session, _ = ask(None)
    return ask(session)[1]


def test_certificate_expires_while_the_ca_is_down(make_acme, hello):
    """It is still shown; the log and `burrow certs` tell; once the CA is back it is renewed."""
    world, pebble = make_acme({"validity": 12})
    agent = world.agent("http", hello, "--name", "late")
    agent.ready()
    first = shown(world, agent.host)
    pebble.stop()
    wait_for(lambda: f"no new certificate for late.{DOMAIN}" in world.server.output, "the log to tell", 60)
    ends = x509.load_der_x509_certificate(first).not_valid_after_utc.timestamp()
    wait_for(lambda: time.time() > ends, "its end")
    assert shown(world, agent.host) == first
    command = burrow("certs", "--state", world.folder / "state")
    assert command.wait() == 0
    assert "cannot be reached" in command.output
    pebble.start()
    wait_for(lambda: shown(world, agent.host) != first, "another certificate", 90)
    wait_for(lambda: world.get(agent.host)[2] == b"hello", "an answer over a valid certificate")


def test_validation_through_nginx_that_passes_tls_through(tmp_path, hello):
    port, https = free_port(), free_port()
    pebble = Pebble(port)
    world = acme_world(tmp_path / "world", pebble, https, public_url=f"https://{DOMAIN}:{port}")
    world.env["BURROW_SERVER"] = f"https://{DOMAIN}:{port}"
    nginx = start_nginx(tmp_path / "nginx", passing_through(port, https))
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        agent = world.agent("http", hello, "--name", "behind")
        assert agent.url == f"https://behind.{DOMAIN}:{port}"
        assert world.get(agent.host)[2] == b"hello"
    finally:
        world.close()
        nginx.stop()
        pebble.close()


class AcmeNodes:
    """Two nodes on one Redis, behind nginx, which the CA reaches, too."""

    def __init__(self, folder):
        self.redis = RedisServer()
        self.port = free_port()
        self.pebble = Pebble(self.port)
        self.worlds = []
        store = f"redis://127.0.0.1:{self.redis.port}"
        public = f"https://{DOMAIN}:{self.port}"
        for number in range(2):
            world = acme_world(
                *(folder / f"node{number}", self.pebble, free_port()), store=store, public_url=public
            )
            world.env["BURROW_SERVER"] = public
            self.worlds.append(world)
        text = configuration("Several servers").replace("listen 443", f"listen 127.0.0.1:{self.port}")
        text = text.replace("10.0.0.1:443", f"127.0.0.1:{self.worlds[0].https}")
        text = text.replace("10.0.0.2:443", f"127.0.0.1:{self.worlds[1].https}")
        self.nginx = start_nginx(folder / "nginx", text)
        created = burrow("token", "create", "test", "--store", store)
        assert created.wait() == 0, created.output
        for world in self.worlds:
            world.env["BURROW_TOKEN"] = created.lines[-1]
            world.start_server()

    def close(self):
        for world in self.worlds:
            world.close()
        self.nginx.stop()
        self.pebble.close()
        self.redis.stop()


def test_one_node_orders_any_answers_all_serve(tmp_path, hello):
    nodes = AcmeNodes(tmp_path)
    try:
        one, two = nodes.worlds
        wait_for(lambda: shown(one, DOMAIN), "the base domain's certificate")
        wait_for(lambda: shown(two, DOMAIN) == shown(one, DOMAIN), "the same on the other node")
        agents = [one.agent("http", hello, "--name", f"node{number}") for number in range(6)]
        for agent in agents:
            agent.ready()
            # nginx sends the CA's validations to either node in turn.
            assert shown(one, agent.host) == shown(two, agent.host) is not None
            for world in (one, two):
                assert world.get(agent.host)[2] == b"hello"
        assert nodes.pebble.orders() == 7
        _handshake_waits_and_nobody_else_does(nodes, agents[0].host)
    finally:
        nodes.close()


def _handshake_waits_and_nobody_else_does(nodes, name):
    """A node that has just started asks Redis for a name's certificate; Redis does not answer for a while."""
    one = nodes.worlds[0]
    one.server.kill(signal.SIGTERM)
    one.server.wait()
    one.start_server()
    assert one.get(DOMAIN, "/_burrow/health")[0] == 200

    def while_redis_says_nothing():
        """Whether others had answers meanwhile: for 3 s at most, then Redis counts as away."""
        got = []

        def ask():
            with contextlib.suppress(OSError):
                got.append(shown(one, name))

        nodes.redis.pause()
        waiting = threading.Thread(target=ask)
        waiting.start()
        for _ in range(5):
            assert one.get(DOMAIN, "/_burrow/health")[0] == 200
        waited = not got
        nodes.redis.go_on()
        waiting.join()
        assert got or not waited
        return waited and got[0] is not None

    assert any(while_redis_says_nothing() for _ in range(4))
