"""Agents that come, go and come back; names and ports that stay; tokens that do not fit."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from tests.e2e.harness import PATIENCE, burrow, free_port, read_response, reply, wait_for


@pytest.fixture
def hello(upstream):
    """A service that says hello."""
    return upstream(lambda handler: reply(handler, b"hello"))


def answers(world, host):
    """Whether the tunnel answers now."""
    try:
        return world.get(host)[::2] == (200, b"hello")
    except OSError:
        return False


def test_same_upstream_same_name_for_ever(world, hello):
    agent = world.agent("http", hello.port)
    first = agent.url
    agent.program.stop()
    assert world.agent("http", f"localhost:{hello.port}").url == first
    assert world.agent("http", hello.port, XDG_STATE_HOME=str(world.folder / "another-machine")).url != first
    assert world.agent("http", f"127.0.0.1:{hello.port}").url != first


@pytest.mark.alone
def test_server_killed_and_started_again(make_world, hello):
    world = make_world()
    agent = world.agent("http", hello.port)
    host = agent.host
    assert answers(world, host)
    for _ in range(2):
        world.server.kill()
        world.server.wait()
        time.sleep(0.5)  # the time that nobody listens, not one that anything waits for
        world.start_server()
        listening = time.monotonic()
        wait_for(lambda: answers(world, host), "the agent")
        assert time.monotonic() - listening < 6
    assert len(agent.ready()) == 1


def test_server_that_was_killed_and_starts_again_sends_no_agent_away(make_world, hello):
    """The note of the node that was killed outlives it: the agent's session is not there, and counts not."""
    world = make_world(token_sessions="1")
    agent = world.agent("http", hello.port)
    host = agent.host
    for pid in [*world.workers, world.server.process.pid]:
        os.kill(pid, signal.SIGKILL)
    world.server.wait()
    world.start_server()
    wait_for(lambda: answers(world, host), "the agent")
    told = str(agent.events("disconnected"))
    assert "lost" in told
    assert "cannot take agents now" not in told


def test_server_stopped_cleanly_takes_its_agents_back_at_once(make_world, hello):
    world = make_world()
    agent = world.agent("http", hello.port)
    host = agent.host
    world.server.stop()
    assert world.server.process.returncode == 0
    world.start_server()
    wait_for(lambda: answers(world, host), "the agent", 6)


def test_port_that_is_busy_when_the_server_starts_ends_no_tunnel(make_world, hello, tcp_upstream, tmp_path):
    echo = tcp_upstream(lambda connection: connection.sendall(connection.recv(100)))
    world = make_world()
    file = tmp_path / "burrow.toml"
    file.write_text(
        f"[tunnels.web]\nupstream = {hello.port}\n[tunnels.db]\nkind = 'tcp'\nupstream = {echo.port}\n"
    )
    several = world.agent("start", "--config", file)
    one = world.agent("tcp", echo.port, "--name", "one")
    ready = [*several.ready(2), *one.ready()]
    ports = [int(event["url"].rpartition(":")[2]) for event in ready if event["kind"] == "tcp"]
    world.server.kill()
    world.server.wait()
    # As an outgoing connection has it that gets this port from the kernel, and for a minute after its end.
    busy = [socket.create_server(("127.0.0.1", port)) for port in ports]
    world.start_server()
    for agent in (several, one):
        wait_for(lambda agent=agent: "another program" in str(agent.events("refused")), "the refusal")
    wait_for(lambda: answers(world, "web.localhost"), "the other tunnel")
    other = world.token("thief")
    for port in ports:
        thief = world.agent("tcp", echo.port, "--name", f"thief-{port}", "--port", port, BURROW_TOKEN=other)
        assert thief.program.wait() == 77
        assert thief.events("error")[0]["error"] == "NameTaken"
    for socket_of_another in busy:
        socket_of_another.close()

    def echoes(port):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as visitor:
            visitor.sendall(b"echo")
            return visitor.recv(100) == b"echo"
        return False

    for port in ports:
        wait_for(lambda port=port: echoes(port), f"port {port}")
    assert answers(world, "web.localhost")


def silence(*pids):
    """Stop processes without closing their connections: as if their machine had vanished."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def test_agent_killed_and_started_again_has_its_names_and_ports_back(world, hello, tcp_upstream):
    echo = tcp_upstream(lambda connection: connection.sendall(connection.recv(100)))
    arguments = ["http", hello.port, "--name", "comeback"], ["tcp", echo.port, "--name", "comeback-tcp"]
    first = [world.agent(*each) for each in arguments]
    urls = [agent.url for agent in first]
    for agent in first:
        silence(agent.program.process.pid)  # the server still believes in the old session
    other = world.token("thief")
    for each in arguments:
        thief = world.agent(*each, BURROW_TOKEN=other)
        assert thief.program.wait() == 77
        assert thief.events("error")[0]["error"] == "NameTaken"
    second = [world.agent(*each) for each in arguments]
    assert [agent.url for agent in second] == urls
    assert answers(world, "comeback.localhost")
    port = int(urls[1].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as visitor:
        visitor.sendall(b"echo")
        assert visitor.recv(100) == b"echo"
    for agent in first:
        agent.program.kill()
    time.sleep(0.2)
    assert answers(world, "comeback.localhost")  # the old session's end takes nothing from the new one


def test_older_of_two_agents_is_told_and_ends(world, hello):
    first = world.agent("http", hello.port, "--name", "twice")
    first.ready()
    second = world.agent("http", hello.port, "--name", "twice")
    second.ready()
    assert first.program.wait() == 77
    assert "another agent" in first.program.output
    assert answers(world, "twice.localhost")


@pytest.mark.alone
def test_dead_agent_is_found_within_fifteen_seconds(make_world, hello):
    world = make_world(hold="1")
    agent = world.agent("http", hello.port, "--name", "silent")
    agent.ready()
    silence(agent.program.process.pid)
    started = time.monotonic()
    world.server.line("lost its connection, and its session waits for it", patience=20)
    assert time.monotonic() - started < 15
    assert world.get("silent.localhost")[0] == 503


@pytest.mark.alone
def test_dead_server_is_found_within_fifteen_seconds(make_world, hello):
    world = make_world()
    agent = world.agent("http", hello.port)
    agent.ready()
    silence(*world.workers)
    wait_for(lambda: agent.events("disconnected"), "the disconnect", 16)


@pytest.mark.parametrize("bad", ["burrow_aaaaaaaaaa_" + "a" * 32, "nonsense", "ü"])
def test_wrong_token(world, bad):
    agent = world.agent("http", 3000, BURROW_TOKEN=bad)
    assert agent.program.wait() == 77
    assert bad not in agent.program.output.replace("nonsense", "") or bad == "nonsense"
    assert "unknown or revoked" in agent.program.output or "token" in agent.program.output


def test_revoked_token(world, hello):
    token = world.token("to-be-revoked")
    running = world.agent("http", hello.port, "--name", "revoked", BURROW_TOKEN=token)
    assert world.get(running.host)[2] == b"hello"
    revoke = burrow("token", "revoke", "to-be-revoked", "--state", world.folder / "state")
    assert revoke.wait() == 0
    assert running.program.wait(5) == 77
    assert "'to-be-revoked' was revoked" in running.events("error")[0]["message"]
    assert world.get(running.host)[0] == 503
    agent = world.agent("http", hello.port, BURROW_TOKEN=token)
    assert agent.program.wait() == 77
    assert token not in agent.program.output
    assert token not in world.server.output
    again = burrow("token", "revoke", "to-be-revoked", "--state", world.folder / "state")
    assert again.wait() == 78


def test_viewers_token_runs_no_tunnels(world):
    agent = world.agent("http", 3000, BURROW_TOKEN=world.token("viewer", "viewer"))
    assert agent.program.wait() == 77
    assert "may not run tunnels" in agent.program.output


def test_tokens_are_listed_with_their_use(world, hello):
    token = world.token("listed")
    world.agent("http", hello.port, "--name", "listed", BURROW_TOKEN=token).ready()
    listing = burrow("token", "list", "--state", world.folder / "state")
    assert listing.wait() == 0
    row = next(line for line in listing.lines if line.startswith("listed"))
    assert "agent" in row
    assert "never" not in row
    assert token.rpartition("_")[2] not in listing.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["http", "3000", "--name=-bad"], "BadOption"),
        (["http", "3000", "--name", "a" * 64], "BadOption"),
        (["http", "3000", "--name", "www"], "BadOption"),
        (["http", "3000", "--name", "xn--80ak6aa92e"], "BadOption"),
        (["http", "3000", "--name", "a.b"], "NotAllowed"),
        (["tcp", "3000", "--port", "22"], "BadOption"),
    ],
)
def test_what_the_server_refuses(world, arguments, error):
    agent = world.agent(*arguments)
    assert agent.program.wait() == 77
    assert agent.events("error")[0]["error"] == error


@pytest.mark.parametrize(
    "upstream",
    ["0", "99999", "localhost:70000", "ftp://localhost:21", "localhost", "http://localhost:80/path", ""],
)
def test_impossible_upstreams(world, upstream):
    kind = "tcp" if upstream in ("localhost", "") else "http"
    program = burrow(kind, upstream, env=world.env)
    assert program.wait() == 78
    assert "burrow: " in program.output
    assert "Traceback" not in program.output


def test_usage_errors():
    for arguments in (["dig"], ["http"], ["http", "3000", "--speed", "fast"]):
        assert burrow(*arguments).wait() == 2


def test_no_server_at_the_address(world):
    env = {**world.env, "BURROW_SERVER": f"https://localhost:{free_port()}"}
    program = burrow("http", "3000", "--no-retry", env=env)
    assert program.wait() == 69
    assert "cannot reach" in program.output


def test_something_else_at_the_address(world, hello):
    env = {**world.env, "BURROW_SERVER": f"http://127.0.0.1:{hello.port}"}
    program = burrow("http", "3000", "--no-retry", env=env)
    assert program.wait() == 69
    assert "does not answer as a Burrow server" in program.output


def test_certificate_that_is_not_believed(world):
    env = {key: value for key, value in world.env.items() if key != "BURROW_CA_FILE"}
    program = burrow("http", "3000", "--no-retry", env=env)
    assert program.wait() == 69
    assert "--ca-file" in program.output


def test_plain_port_tells_agents_the_right_url(world):
    env = {**world.env, "BURROW_SERVER": f"http://localhost:{world.http}"}
    program = burrow("http", "3000", env=env)
    assert program.wait() == 77
    assert f"use https://localhost:{world.https}" in program.output


def test_agent_waits_for_its_server(make_world, hello):
    world = make_world()
    world.server.stop()
    agent = world.agent("http", hello.port)
    wait_for(lambda: agent.events("disconnected"), "the first failure")
    world.start_server()
    assert answers(world, agent.host)


def test_start_opens_the_files_tunnels_and_one_refusal_spares_the_rest(world, hello, tmp_path):
    file = tmp_path / "burrow.toml"
    file.write_text(
        f"[tunnels.one]\nupstream = {hello.port}\n[tunnels.two]\nupstream = '127.0.0.1:{hello.port}'\n"
        f"[tunnels.db]\nkind = 'tcp'\nupstream = {hello.port}\n[tunnels.www]\nupstream = {hello.port}\n"
        f"[tunnels.any]\nname = ''\nupstream = {hello.port}\n"
    )
    agent = world.agent("start", "--config", file)
    names = {event["name"] for event in agent.ready(4)}
    assert {"one", "two", "db"} < names
    assert answers(world, "one.localhost")
    assert answers(world, "two.localhost")
    wait_for(lambda: agent.events("refused"), "the refusal")
    chosen = world.agent("start", "one", "--config", file)
    assert [event["name"] for event in chosen.ready()] == ["one"]
    nobody = burrow("start", "none", "--config", file, env=world.env)
    assert nobody.wait() == 78
    assert "it has one, two, db, www, any" in nobody.output


def test_hangup_reads_the_file_again_or_ends_with_a_good_bye(make_world, hello, upstream, tmp_path):
    world = make_world()
    other = upstream(lambda handler: reply(handler, b"other"))
    file = tmp_path / "burrow.toml"

    def write(**upstreams):
        file.write_text("".join(f"[tunnels.{name}]\nupstream = {port}\n" for name, port in upstreams.items()))

    def says(name):
        with contextlib.suppress(OSError):
            return world.get(f"{name}.localhost")[2]
        return None

    write(stays=hello.port, changes=hello.port, goes=hello.port)
    agent = world.agent("start", "--config", file)
    agent.ready(3)
    with world.connect("changes.localhost") as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: changes.localhost\r\n\r\n")
        assert read_response(visitor)[2] == b"hello"
        write(stays=hello.port, changes=other.port, comes=other.port)
        agent.program.kill(signal.SIGHUP)
        wait_for(lambda: says("comes") == b"other", "the new tunnel")
        wait_for(lambda: says("changes") == b"other", "the changed tunnel")
        assert world.get("goes.localhost")[0] == 503
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: changes.localhost\r\n\r\n")
        assert read_response(visitor)[2] == b"other"  # on the connection that it had
    assert says("stays") == b"hello"
    file.write_text("[tunnels.stays]\nupstrem = 1")
    agent.program.kill(signal.SIGHUP)
    wait_for(lambda: "nothing is changed" in str(agent.events("notice")), "the word that the file is wrong")
    assert [says(name) for name in ("stays", "changes", "comes")] == [b"hello", b"other", b"other"]
    assert world.server.output.count("is connected from") == 1
    one = world.agent("http", hello.port, "--name", "one")
    one.ready()
    one.program.kill(signal.SIGHUP)
    assert one.program.wait() == 0
    assert world.get("one.localhost")[0] == 503  # it said good-bye: nobody waits
    assert "expected back" not in world.server.output


@pytest.mark.parametrize(
    "text",
    [
        "[tunnels.x]\nupstrem = 1",
        "[tunnels.x]\n",
        "speed = 9",
        "not toml",
        "[tunnels.x]\nupstream = 'ftp://x'",
    ],
)
def test_wrong_configuration_files(world, tmp_path, text):
    file = tmp_path / "burrow.toml"
    file.write_text(text)
    program = burrow("start", "--config", file, env=world.env)
    assert program.wait() == 78
    assert str(file) in program.output


def test_login(world, hello, tmp_path):
    token = world.token("login")
    env = {**world.env, "XDG_CONFIG_HOME": str(tmp_path)}
    for name in ("BURROW_SERVER", "BURROW_TOKEN", "BURROW_CA_FILE"):
        env.pop(name, None)
    ca_file = str(world.folder / "state" / "ca.pem")
    missing = burrow("http", hello.port, env=env)
    assert missing.wait() == 78
    assert "burrow login" in missing.output
    wrong = burrow("login", f"https://localhost:{world.https}", "wrong", "--ca-file", ca_file, env=env)
    assert wrong.wait() == 77
    url = f"https://localhost:{world.https}"
    distrusted = burrow("login", url, token, env=env)
    assert distrusted.wait() == 69
    assert len(distrusted.lines) == 1, distrusted.output
    assert "--ca-file" in distrusted.output
    clear = burrow("login", f"https://localhost:{world.http}", token, "--ca-file", ca_file, env=env)
    assert clear.wait() == 69
    assert clear.output.endswith(
        f"localhost:{world.http} does not speak TLS: it is another program's port, or "
        "the server's for http://"
    )
    assert len(clear.lines) == 1, clear.output
    insecure = burrow("login", "http://192.0.2.1", token, env=env)
    assert insecure.wait() == 78
    assert "--insecure" in insecure.output
    token_file = tmp_path / "token"
    token_file.write_text(token + "\n")
    for arguments in (["-"], [], ["--token-file", token_file]):
        with token_file.open() as stdin:
            secret = burrow("login", url, *arguments, "--ca-file", ca_file, env=env, stdin=stdin)
            assert secret.wait() == 0, secret.output
    both = burrow("login", url, token, "--token-file", token_file, env=env)
    assert both.wait() == 2
    by_file = world.agent("http", hello.port, "--token-file", token_file, BURROW_TOKEN="wrong")
    assert by_file.url
    right = burrow("login", f"https://localhost:{world.https}", token, "--ca-file", ca_file, env=env)
    assert right.wait() == 0, right.output
    world.server.line(r"session of agent 'login' ended: .*cleanly: the token was checked")
    assert "'login' lost its connection" not in world.server.output
    saved = tmp_path / "burrow" / "credentials.toml"
    assert saved.stat().st_mode & 0o777 == 0o600
    agent = burrow("http", hello.port, "--json", env=env)
    try:
        agent.line('"ready"')
    finally:
        agent.stop()


# -- TCP ------------------------------------------------------------------------------------------------


def test_tcp_port_is_stable_and_half_closes_pass(world, tcp_upstream):
    def serve(connection):
        data = b""
        while piece := connection.recv(65536):
            data += piece
        connection.sendall(b"%d bytes" % len(data))

    service = tcp_upstream(serve)
    agent = world.agent("tcp", service.port)
    url = agent.url
    port = int(url.rpartition(":")[2])
    assert url == f"tcp://localhost:{port}"
    with socket.create_connection(("127.0.0.1", port), 20) as visitor:
        visitor.sendall(b"x" * 1_000_000)
        visitor.shutdown(socket.SHUT_WR)
        assert visitor.recv(100) == b"1000000 bytes"
        assert visitor.recv(100) == b""
    agent.program.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2).close()
    assert world.agent("tcp", service.port).url == url


def test_tcp_upstream_that_is_not_there(world):
    agent = world.agent("tcp", free_port())
    port = int(agent.url.rpartition(":")[2])
    # A clean end would say that there was somebody.
    with socket.create_connection(("127.0.0.1", port), 20) as visitor, pytest.raises(ConnectionResetError):
        visitor.recv(1)


def test_asked_for_port(make_world, hello):
    world = make_world()
    port = int(world.ports.partition("-")[0]) + 7
    assert world.agent("tcp", hello.port, "--port", port, "--name", "porty").url == f"tcp://localhost:{port}"
    other = world.agent("tcp", hello.port, "--port", port, "--name", "other-porty")
    assert other.program.wait() == 77
    assert other.events("error")[0]["error"] == "NameTaken"


# -- many --------------------------------------------------------------------------------------------------


def test_a_thousand_tunnels_through_one_agent(world, hello, tmp_path):
    file = tmp_path / "many.toml"
    file.write_text("".join(f"[tunnels.many-{n}]\nupstream = {hello.port}\n" for n in range(1000)))
    agent = world.agent("start", "--config", file)
    wait_for(lambda: len(agent.events("ready")) == 1000, "all thousand", 60)
    for number in range(1000):
        assert world.get(f"many-{number}.localhost")[::2] == (200, b"hello"), number


MANY_AGENTS = """
import sys
from twisted.internet import reactor
from burrow.client.agent import Agent
from burrow.client.tunnels import tunnel_request
from burrow.link.address import Credentials, ServerAddress
from pathlib import Path
url, token, ca_file, upstream = sys.argv[1:5]
opened = []
def show(tunnel):
    opened.append(tunnel.name)
    if len(opened) == 200:
        print("all", flush=True)
for number in range(200):
    credentials = Credentials(ServerAddress.parse(url), token, "agent-%08d" % number, Path(ca_file))
    agent = Agent(reactor, credentials, [tunnel_request("http", upstream, "agent-%d" % number, {})])
    agent.on_opened.append(show)
    agent.startService()
reactor.run()
"""


def test_two_hundred_agents(world, hello):
    import sys

    program = world.program(
        sys.executable,
        "-c",
        MANY_AGENTS,
        world.env["BURROW_SERVER"],
        world.env["BURROW_TOKEN"],
        str(world.folder / "state" / "ca.pem"),
        str(hello.port),
    )
    program.line("^all$", patience=60)
    for number in range(200):
        assert world.get(f"agent-{number}.localhost")[::2] == (200, b"hello"), number


def test_more_tunnels_than_an_agent_may_have(make_world, hello, tmp_path):
    world = make_world(max_tunnels="3")
    file = tmp_path / "four.toml"
    file.write_text("".join(f"[tunnels.n{n}]\nupstream = {hello.port}\n" for n in range(4)))
    agent = world.agent("start", "--config", file)
    agent.ready(3)
    wait_for(lambda: agent.events("refused"), "the refusal")
    assert "has 3 tunnels open" in agent.events("refused")[0]["message"]


# -- the other ways in ------------------------------------------------------------------------


def test_through_an_http_proxy(world, hello):
    asked = []

    def serve(connection):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        asked.append(head)
        target = head.split(b" ")[1].rpartition(b":")
        if b"Proxy-Authorization: Basic dXNlcjpwYXNz" not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        with socket.create_connection((target[0].decode(), int(target[2]))) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(onward, connection), daemon=True).start()
            pump(connection, onward)

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass

    from tests.e2e.harness import TcpUpstream

    proxy = TcpUpstream(serve)
    agent = world.agent(
        "http", hello.port, NO_PROXY="", no_proxy="", HTTPS_PROXY=f"http://user:pass@127.0.0.1:{proxy.port}"
    )
    assert answers(world, agent.host)
    assert asked[0].startswith(f"CONNECT localhost:{world.https} HTTP/1.1\r\n".encode())
    refused = burrow(
        "http",
        "3000",
        "--no-retry",
        env={**world.env, "NO_PROXY": "", "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"},
    )
    assert refused.wait() == 69
    assert "407" in refused.output
    proxy.close()


ELSEWHERE = """
import os, socket, sys
from twisted.internet import selectreactor
selectreactor.install()
import autobahn.twisted.websocket, twisted.internet.ssl, twisted.plugin
# As on Windows and macOS, for our own code: neither these modules nor these calls are there.
for name in ("resource", "fcntl", "pwd", "grp"):
    sys.modules[name] = None
for name in ("TCP_NOTSENT_LOWAT", "SO_REUSEPORT", "TCP_USER_TIMEOUT"):
    if hasattr(socket, name):
        delattr(socket, name)
for name in ("link", "fork"):
    delattr(os, name)
from burrow.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_agent_needs_nothing_of_linux(world, hello):
    import sys

    agent = world.program(
        sys.executable, "-c", ELSEWHERE, "http", hello.port, "--name", "elsewhere", env=world.env
    )
    agent.line("https://elsewhere.localhost")
    assert answers(world, "elsewhere.localhost")


def test_https_upstream_that_signs_for_itself(world, tmp_path):
    """Development servers have such certificates, and the loopback has no network in between."""
    import ssl

    from tests.e2e.harness import Upstream
    from tests.files import make_certificate

    service = Upstream(lambda handler: reply(handler, b"hello"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path, "whoever"))
    service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
    agent = world.agent("http", f"https://localhost:{service.port}")
    assert answers(world, agent.host)
    other_ca_file, _ = make_certificate(tmp_path, "whoever", stem="other")
    rules = ["--upstream-ca", other_ca_file, "--upstream-name", "whoever"]
    strict = world.agent("http", f"https://localhost:{service.port}", *rules)
    status, _, page = world.get(strict.host)
    assert status == 502
    assert b"(upstream-certificate)" in page
    assert b"does not believe the certificate" in page
    strict.program.line("does not believe the certificate")  # written a moment later
    service.close()


def test_upstream_on_a_unix_socket(world, tmp_path):
    path = tmp_path / "app.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    threading.Thread(target=serve, daemon=True).start()
    assert answers(world, world.agent("http", f"unix:{path}").host)
    port = int(world.agent("tcp", f"unix:{path}").url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 20) as visitor:
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_response(visitor)[::2] == (200, b"hello")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    path.unlink()
    status, _, page = world.get(world.agent("http", f"unix:{path}").host)
    assert status == 502
    assert b"(upstream-refused)" in page
    assert str(path).encode() not in page


def test_up_and_demo(hello, tmp_path):
    env = {"XDG_STATE_HOME": str(tmp_path), "NO_PROXY": "*"}
    port = free_port()
    urls = []
    for _ in range(2):
        up = burrow("up", hello.port, "--https", f"127.0.0.1:{port}", "--json", env=env)
        urls.append(json.loads(up.line('(.*"ready".*)')[1])["url"])
        up.stop()
        assert up.process.returncode == 0
    assert urls[0] == urls[1]
    demo = burrow("demo", "--check", env=env)
    assert demo.wait(PATIENCE) == 0, demo.output
    assert "It works" in demo.output


def test_port_in_use(world, hello, tmp_path):
    env = {"XDG_STATE_HOME": str(tmp_path)}
    up = burrow("up", hello.port, "--https", f"127.0.0.1:{world.https}", env=env)
    assert up.wait() == 78
    assert "choose another" in up.output
