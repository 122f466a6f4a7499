"""Two servers that share a Redis: a visitor reaches any, and either may die."""

import hashlib
import random
import signal
import socket
import ssl
import threading
import time
from http.client import HTTPException

import pytest

from tests.e2e.harness import TcpUpstream, World, burrow, free_port, reply, send_bytes, wait_for
from tests.e2e.relay import Relay
from tests.e2e.test_nginx import configuration, start_nginx
from tests.e2e.test_restart import reload
from tests.files import make_certificate
from tests.redis import RedisServer

BLOCK = bytes(random.Random(3).randbytes(1024**2))
DOMAIN = "burrow.localhost"


class Nodes:
    """Two worlds on one Redis, and nginx that sends connections to either."""

    def __init__(self, folder):
        self.redis = RedisServer()
        self.port = free_port()
        cert_file, key_file = make_certificate(folder / "certificate", DOMAIN, f"*.{DOMAIN}")
        options = {
            "store": f"redis://127.0.0.1:{self.redis.port}",
            "domain": DOMAIN,
            "tls": "files",
            "cert_file": cert_file,
            "key_file": key_file,
            "public_url": f"https://{DOMAIN}:{self.port}",
        }
        self.worlds = [
            World(folder / "one", ca_file=cert_file, **options),
            World(folder / "two", ca_file=cert_file, address="127.0.0.2", **options),
        ]
        one, two = self.worlds
        two.ports = one.ports
        for world in self.worlds:
            world.start_server()
        created = burrow("token", "create", "test", "--store", options["store"])
        assert created.wait() == 0, created.output
        for world in self.worlds:
            world.env["BURROW_TOKEN"] = created.lines[-1]
        text = configuration("Several servers").replace("listen 443", f"listen 127.0.0.1:{self.port}")
        text = text.replace("10.0.0.1:443", f"127.0.0.1:{one.https}")
        text = text.replace("10.0.0.2:443", f"127.0.0.2:{two.https}")
        self.nginx = start_nginx(folder / "nginx", text)
        # The certificate has no addresses in it.
        self.second = Relay(two.https)
        self.second.target = ("127.0.0.2", two.https)
        two.env["BURROW_SERVER"] = f"https://{DOMAIN}:{self.second.port}"
        self.front = {"BURROW_SERVER": f"https://{DOMAIN}:{self.port}"}

    def close(self):
        for world in self.worlds:
            world.close()
        self.nginx.stop()
        self.second.close()
        self.redis.stop()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    yield nodes
    nodes.close()


@pytest.fixture(autouse=True)
def no_agents_left(nodes):
    """
    Agents that know one node alone would keep it from leaving. Redis and both nodes run at the beginning of
    each test, whatever happened in the one before.
    """
    nodes.redis.revive()
    for world in nodes.worlds:
        world.revive()
    yield
    for world in nodes.worlds:
        for program in world.started:
            if program is not world.server:
                program.stop()
        world.started = [world.server]


def test_visitor_reaches_any_node(nodes, upstream):
    one, two = nodes.worlds
    vias = set()

    def serve(handler):
        vias.add(handler.headers["Via"])
        reply(handler, b"hello")

    agent = one.agent("http", upstream(serve).port, "--name", "any")
    agent.ready()
    for world in (two, one, two):
        assert world.get(agent.host)[2] == b"hello"
    assert len(vias) == 1  # the nodes are one server
    around = one.agent("http", f"https://localhost:{nodes.port}", "--name", "around")
    assert two.get(around.host)[0] == 508
    # A kept connection, on the node that does not hold the session.
    connection = two.http_connection(agent.host)
    for _ in range(20):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
    connection.close()
    agent.program.stop()
    wait_for(lambda: two.get(agent.host)[0] == 503, "the other node to know that the agent is gone")


def test_rules_hold_on_every_node_once_the_agent_is_told(nodes, upstream):
    """Of the agent that takes over from one without; by the store, and while that is away."""
    one, two = nodes.worlds
    port = upstream(lambda handler: reply(handler, b"hello")).port
    for number in range(4):
        agents = [one.agent("http", port, "--name", "ruled")]
        agents[0].ready()
        wait_for(lambda agent=agents[0]: two.get(agent.host)[0] == 200, "the other node to know")
        if number == 3:
            nodes.redis.stop()
        agents.append(one.agent("http", port, "--name", "ruled", "--basic-auth", "ann:secret"))
        agents[1].ready()
        assert two.get(agents[1].host)[0] == 401
        for agent in agents:
            agent.program.stop()


def test_bytes_through_two_nodes(nodes, upstream):
    one, two = nodes.worlds
    size = 50 * 1024**2
    agent = one.agent(
        "http", upstream(lambda handler: send_bytes(handler, size, BLOCK)).port, "--name", "bulk"
    )
    agent.ready()
    status, _, body = two.get(agent.host)
    assert status == 200
    assert hashlib.sha256(body).digest() == hashlib.sha256(BLOCK * 50).digest()


def test_port_is_open_on_every_node(nodes):
    one, two = nodes.worlds

    def echo(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

    service = TcpUpstream(echo)
    agent = one.agent("tcp", service.port, "--name", "echo")
    port = int(agent.url.rpartition(":")[2])

    def asked(address):
        try:
            with socket.create_connection((address, port), 5) as visitor:
                visitor.sendall(b"ping")
                return visitor.recv(100)
        except OSError:
            return None

    for address in ("127.0.0.2", "127.0.0.1"):
        wait_for(lambda address=address: asked(address) == b"ping", f"the port on {address}")
    # The agent moves: its new node serves the port itself, the old one passes on.
    agent.program.kill()
    moved = two.agent("tcp", service.port, "--name", "echo")
    assert moved.url == agent.url
    assert asked("127.0.0.2") == b"ping"
    wait_for(lambda: asked("127.0.0.1") == b"ping", "the port on the first node")
    service.close()


def test_tls_of_the_upstream_is_reached_by_every_node(nodes, tmp_path):
    one, two = nodes.worlds
    host = f"passed.{DOMAIN}"
    cert_file, key_file = make_certificate(tmp_path, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)

    def echo(plain):
        with context.wrap_socket(plain, server_side=True) as connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def asked(address, port):
        trusting = ssl.create_default_context(cafile=str(cert_file))
        with (
            socket.create_connection((address, port), 30) as plain,
            trusting.wrap_socket(plain, server_hostname=host) as visitor,
        ):
            visitor.sendall(b"ping")
            return visitor.recv(100)

    service = TcpUpstream(echo)
    agent = one.agent("tls", service.port, "--name", "passed")
    assert agent.url == f"tls://{host}:{nodes.port}"
    ways = (("127.0.0.2", two.https), ("127.0.0.1", one.https), ("127.0.0.1", nodes.port))
    for way in ways:
        assert asked(*way) == b"ping"
    # The agent moves: whoever comes meanwhile waits for it, at either node.
    agent.program.kill()
    agent.program.wait()
    two.agent("tls", service.port, "--name", "passed").ready()
    for way in ways:
        assert asked(*way) == b"ping"
    service.close()


@pytest.mark.parametrize("number", [0, 1])
def test_agent_that_is_killed_leaves_its_requests_to_the_next(nodes, upstream, number):
    """What only asks is asked again, through either node; what may change something is not."""
    one, two = nodes.worlds
    asked, answer = [], threading.Event()

    def serve(handler):
        asked.append(handler.command)
        if len(asked) <= 3:
            answer.wait(20)
        reply(handler, b"hello")

    service = upstream(serve)
    first = one.agent("http", service.port, "--name", f"killed{number}")
    first.ready()
    answers = {}

    def visit(world, method):
        body = b"x" if method == "POST" else None
        answers[world, method] = world.get(first.host, "/", method, body)[0]

    visitors = [
        threading.Thread(target=visit, args=asks) for asks in ((one, "GET"), (two, "GET"), (two, "POST"))
    ]
    for visitor in visitors:
        visitor.start()
    wait_for(lambda: len(asked) == 3, "the requests to be at the upstream")
    first.program.kill()
    nodes.worlds[number].agent("http", service.port, "--name", f"killed{number}").ready()
    for visitor in visitors:
        visitor.join()
    answer.set()
    assert (answers[one, "GET"], answers[two, "GET"]) == (200, 200)
    assert answers[two, "POST"] in (502, 503)
    assert asked.count("POST") == 1


def test_name_of_another_token_is_taken_on_every_node(nodes, upstream):
    one, two = nodes.worlds
    service = upstream(lambda handler: reply(handler, b"mine"))
    agent = one.agent("http", service.port, "--name", "owned")
    agent.ready()
    created = burrow("token", "create", "other", "--store", one.options["store"])
    assert created.wait() == 0
    thief = two.agent("http", service.port, "--name", "owned", BURROW_TOKEN=created.lines[-1])
    assert thief.program.wait() == 77
    assert "belongs to another token" in thief.program.output
    assert two.get(agent.host)[2] == b"mine"


def test_revoked_token_ends_its_sessions_on_every_node(nodes, upstream):
    """Also those whose connection is cut, and what runs on them."""
    store = nodes.worlds[0].options["store"]
    created = burrow("token", "create", "to-be-revoked", "--store", store)
    assert created.wait() == 0, created.output
    going = threading.Event()

    def serve(handler):
        if handler.path == "/slow":
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b"begins")
            going.wait(30)
        else:
            reply(handler, b"hello")

    service = upstream(serve)
    token = {"BURROW_TOKEN": created.lines[-1]}
    running = [
        world.agent("http", service.port, "--name", f"on{n}", **token) for n, world in enumerate(nodes.worlds)
    ]
    for agent, world in zip(running, nodes.worlds, strict=True):
        assert world.get(agent.host)[2] == b"hello"
    one = nodes.worlds[0]
    killed = one.agent("http", service.port, "--name", "killed", **token)
    download = one.http_connection(killed.host)
    download.request("GET", "/slow")
    assert download.getresponse().read(6) == b"begins"
    killed.program.kill()
    killed.program.wait()
    assert burrow("token", "revoke", "to-be-revoked", "--store", store).wait() == 0
    began = time.monotonic()
    for agent in running:
        assert agent.program.wait(15) == 77
        assert "was revoked" in agent.events("error")[0]["message"]
    download.sock.settimeout(15)
    assert download.sock.recv(1) == b""
    assert time.monotonic() - began < 15
    going.set()


def test_second_agent_on_another_node_takes_the_tunnel_over(nodes, upstream):
    one, two = nodes.worlds
    first = one.agent("http", upstream(lambda handler: reply(handler, b"first")).port, "--name", "newer")
    assert two.get(first.host)[2] == b"first"
    second = two.agent("http", upstream(lambda handler: reply(handler, b"second")).port, "--name", "newer")
    second.ready()
    assert first.program.wait() == 77
    assert "has the tunnel now" in first.program.output
    for world in (one, two):
        wait_for(lambda world=world: world.get(second.host)[2] == b"second", "the newer agent's answer")


def test_session_goes_on_through_another_node(nodes, upstream):
    """The agent's connection is cut while it downloads; its next one reaches the other node."""
    one, two = nodes.worlds
    size = 100 * 1024**2
    relay = Relay(one.https)
    agent = one.agent(
        "http",
        upstream(lambda handler: send_bytes(handler, size, BLOCK)).port,
        *("--name", "roaming"),
        BURROW_SERVER=f"https://{DOMAIN}:{relay.port}",
    )
    connection = one.http_connection(agent.host)
    connection.request("GET", "/")
    response = connection.getresponse()
    digest = hashlib.sha256()
    targets = [("127.0.0.2", two.https), ("127.0.0.1", one.https)]
    for number in range(10):
        for _ in range(10):
            digest.update(response.read(1024**2))
        relay.target = targets[number % 2]
        relay.cut()
    assert digest.digest() == hashlib.sha256(BLOCK * 100).digest()
    relay.close()


@pytest.mark.parametrize("reloaded", [False, True])
def test_node_that_stops_sends_its_agents_away_first(nodes, upstream, reloaded):
    """
    SIGTERM: a download that runs may end, agents move, and no request fails, neither here nor there; also
    where the process that has the download was replaced just before.
    """
    one, two = nodes.worlds
    size = 20 * 1024**2

    def slow(handler):
        if handler.path != "/slow":
            reply(handler, b"hello")
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        for _ in range(20):
            handler.wfile.write(BLOCK)
            time.sleep(0.2 if reloaded else 0.1)

    agent = one.agent("http", upstream(slow).port, "--name", "leaving", **nodes.front)
    agent.ready()
    for leaving, staying in [(one, two)] if reloaded else [(one, two), (two, one)]:
        bodies = []
        download = threading.Thread(
            target=lambda world, bodies: bodies.append(world.get(agent.host, "/slow")[2]),
            args=(leaving, bodies),
        )
        download.start()
        time.sleep(0.3)
        if reloaded:
            reload(leaving)
        leaving.server.kill(signal.SIGTERM)
        while leaving.server.process.poll() is None:
            assert staying.get(agent.host)[2] == b"hello"
        assert staying.get(agent.host)[2] == b"hello"
        download.join()
        assert bodies == [BLOCK * 20]
        assert leaving.server.wait() == 0
        leaving.start_server()
    agent.program.stop()


def test_stopping_node_answers_or_refuses_whoever_comes(nodes, upstream):
    """A port that no longer serves accepts no visitor and no agent."""
    one, two = nodes.worlds
    agent = one.agent("http", upstream(lambda handler: reply(handler, b"hello")).port, "--name", "gently")
    agent.ready()
    service = upstream(lambda handler: reply(handler, b"hello"))
    moved = two.agent("http", service.port, "--name", "other", **nodes.front)
    moved.ready()
    outcomes = []

    def visit():
        try:
            outcomes.append(two.get(agent.host, timeout=8)[2] == b"hello")
        except ConnectionRefusedError:
            outcomes.append(None)
        except (OSError, HTTPException) as error:
            outcomes.append(error)

    visitors = []
    while two.server.process.poll() is None or len(visitors) < 100:
        if len(visitors) == 20:  # some are under way
            two.server.kill(signal.SIGTERM)
        visitors.append(threading.Thread(target=visit))
        visitors[-1].start()
        time.sleep(0.01)
    for visitor in visitors:
        visitor.join()
    assert two.server.wait() == 0
    two.start_server()
    wrong = [outcome for outcome in outcomes if outcome is not True and outcome is not None]
    assert not wrong
    assert len(outcomes) == len(visitors)
    assert True in outcomes, "nobody was served: the node was gone before it was asked"
    assert outcomes[-1] is None


def test_node_is_killed_under_load(nodes, upstream, tmp_path):
    """100 tunnels of 10 agents; either node dies; each tunnel answers again, with its own answer."""
    answers = {}
    agents = []
    for number in range(10):
        word = f"upstream {number}".encode()
        service = upstream(lambda handler, word=word: reply(handler, word))
        file = tmp_path / f"agent{number}.toml"
        file.write_text(
            "".join(f"[tunnels.load{number}-{i}]\nupstream = {service.port}\n" for i in range(10))
        )
        # Ten machines: each has an id of its own.
        state = str(tmp_path / f"machine{number}")
        environment = {
            **nodes.front,
            "XDG_STATE_HOME": state,
            "BURROW_TOKEN": nodes.worlds[0].env["BURROW_TOKEN"],
        }
        agents.append(nodes.worlds[0].agent("start", "--config", file, **environment))
        answers.update({f"load{number}-{i}.{DOMAIN}": word for i in range(10)})
    for agent in agents:
        agent.ready(10)
    log = []
    going = True

    def poll(hosts, world):
        while going:
            for host in hosts:
                begun = time.monotonic()
                try:
                    body = world.get(host)[2]
                except (OSError, HTTPException):
                    body = b""
                log.append((begun, host, body))

    def answered(since, patience):
        """Whether every tunnel answered with its own word after C{since}."""
        deadline = since + patience
        while time.monotonic() < deadline:
            right = {host for begun, host, body in list(log) if begun > since and body == answers[host]}
            if len(right) == len(answers):
                return True
            time.sleep(0.02)
        missing = sorted(set(answers) - right)
        return f"{len(missing)} tunnels did not answer: {missing[:5]}"

    hosts = list(answers)
    for dying, living in ((0, 1), (1, 0)):
        going = True
        survivor = nodes.worlds[living]
        threads = [threading.Thread(target=poll, args=(hosts[i::5], survivor), daemon=True) for i in range(5)]
        for thread in threads:
            thread.start()
        assert answered(time.monotonic(), 30) is True
        died = time.monotonic()
        nodes.worlds[dying].server.kill()
        assert answered(died, 15) is True
        going = False
        for thread in threads:
            thread.join()
        wrong = {body for _, host, body in log if body.startswith(b"upstream") and body != answers[host]}
        assert not wrong
        # What was under way through the node that died may be broken off; what came after is served.
        failed = [entry for entry in log if entry[0] > died and not entry[2].startswith(b"upstream")]
        assert not failed, f"{len(failed)} of {len(log)} requests failed: {failed[:3]}"
        log.clear()
        nodes.worlds[dying].start_server()
    for agent in agents:
        agent.program.stop()
