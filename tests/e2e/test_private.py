"""Private tunnels: sshd, psql, Redis and HTTP that no public port or host leads to."""

import os
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from tests.e2e.harness import Program, burrow, free_port, reply, wait_for
from tests.e2e.relay import Relay
from tests.e2e.sshd import start_sshd
from tests.e2e.test_apps import postgres  # noqa: F401 - a fixture
from tests.programs import program
from tests.redis import RedisServer


def connect(world, name, *arguments, **env):
    """C{burrow connect NAME --listen 0 --json}, and the port where it listens."""
    command = burrow("connect", name, "--listen", "0", "--json", *arguments, env={**world.env, **env})
    world.started.append(command)
    return command, int(command.line(r'"listen": "127\.0\.0\.1:(\d+)"')[1])


def standard(world, name, *arguments, data=b"", **env):
    """C{burrow connect NAME --stdio}, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "burrow.cli.main", "connect", name, "--stdio", *arguments],
        input=data,
        capture_output=True,
        env={**os.environ, **world.env, **env},
        timeout=60,
    )


def echo(visitor):
    while data := visitor.recv(65536):
        visitor.sendall(data)


@pytest.fixture
def sshd(world, tmp_path):
    """Its port, and the options of a client for it."""
    return start_sshd(world, tmp_path)


def test_ssh_through_proxycommand_with_cuts_of_both_sides(world, sshd):
    """Both ways to the server are cut in the middle: the shell goes on, and nothing is lost or doubled."""
    port, options = sshd
    relays = [Relay(world.https) for _ in range(2)]
    agents_way, visitors_way = ({"BURROW_SERVER": f"https://localhost:{relay.port}"} for relay in relays)
    try:
        agent = world.agent("tcp", port, "--private", "--name", "box", **agents_way)
        assert agent.url == "private://box"
        command = f"{sys.executable} -m burrow.cli.main connect box --stdio"
        client = Program(
            program("ssh"),
            *options,
            *("-o", f"ProxyCommand={command}", "box", "while read line; do echo got $line; done"),
            stdin=subprocess.PIPE,
            env={**world.env, **visitors_way},
        )
        world.started.append(client)
        for number in range(60):
            if number % 10 == 5:
                relays[number // 10 % 2].cut()
            client.process.stdin.write(f"{number}\n")
            client.process.stdin.flush()
            client.line(f"^got {number}$")
        client.process.stdin.close()
        assert client.wait() == 0
        assert client.lines == [f"got {number}" for number in range(60)]
        assert all(relay.connections > 1 for relay in relays)
    finally:
        for relay in relays:
            relay.close()


def test_psql_and_redis_by_local_ports(world, postgres):  # noqa: F811
    redis = RedisServer()
    try:
        for name, port in (("pg", postgres), ("cache", redis.port)):
            world.agent("tcp", port, "--private", "--name", name).ready()
        _, port = connect(world, "pg")
        psql = [program("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-qAt"]
        script = "SELECT sum(n) FROM generate_series(1, 100000) AS n; SELECT repeat('x', 3000000);"
        result = subprocess.run(psql, input=script, capture_output=True, text=True, timeout=120)
        assert result.stdout.split() == ["5000050000", "x" * 3_000_000], result.stderr
        _, port = connect(world, "cache")
        with socket.create_connection(("127.0.0.1", port), 30) as visitor:
            visitor.sendall(b"PING\r\n")
            assert visitor.recv(100) == b"+PONG\r\n"
    finally:
        redis.stop()


def test_http_that_the_edge_does_not_know(world, upstream):
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"hidden")).port, "--private")
    name = agent.ready()[0]["name"]
    assert agent.url == f"private://{name}"
    answers = set()
    for host in (f"{name}.localhost", "nobodys.localhost"):
        connection = world.http_connection(host, sni=host)  # it has no certificate: this accepts any
        names = connection.sock.getpeercert()["subjectAltName"]
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode().replace(host, "HOST").replace(host.partition(".")[0], "NAME")
        answers.add((answer.status, body, names))
    ((status, _, names),) = answers
    assert status == 404
    assert ("DNS", f"{name}.localhost") not in names
    _, port = connect(world, name)
    visitor = HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(3):
        visitor.request("GET", "/")
        assert visitor.getresponse().read() == b"hidden"


def test_all_of_a_token_by_one_socks_proxy(world, upstream):
    for name in ("first", "second"):
        service = upstream(lambda handler, name=name: reply(handler, name.encode()))
        world.agent("http", service.port, "--private", "--name", name).ready()
    command = burrow("connect", "--socks", "0", "--json", env=world.env)
    world.started.append(command)
    port = command.line(r'"socks": "127\.0\.0\.1:(\d+)"')[1]

    def curl(host):
        arguments = ["-sS", "--proxy", f"socks5h://127.0.0.1:{port}", f"http://{host}/"]
        return subprocess.run([program("curl"), *arguments], capture_output=True, text=True, timeout=60)

    assert [curl(f"{name}.burrow").stdout for name in ("first", "second")] == ["first", "second"]
    for host in ("nobodys.burrow", "example.com"):
        assert curl(host).returncode == 97  # CURLE_PROXY
    command.line(r"example\.com.* is no private tunnel")
    for arguments, words in (
        (["box", "--socks", "0"], "leave box out"),
        (["--listen", "0"], "which tunnel"),
    ):
        wrong = burrow("connect", *arguments, env=world.env)
        assert wrong.wait() == 2, wrong.output
        assert words in wrong.output


def test_whole_bytes_through_standard_files(world, tcp_upstream):
    world.agent("tcp", tcp_upstream(echo).port, "--private", "--name", "echo").ready()
    data = os.urandom(5_000_000)
    result = standard(world, "echo", data=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == data


def test_who_may_connect(world, tcp_upstream):
    ann, bob = world.token("ann"), world.token("bob")
    port = tcp_upstream(echo).port
    world.agent("tcp", port, "--private", "--name", "some", "--allow-token", "ann").ready()
    for token, name, code, words in (
        (ann, "some", 0, b""),
        (bob, "some", 77, b"no private tunnel 'some' that this token may use"),
        (bob, "nobodys", 77, b"no private tunnel 'nobodys' that this token may use"),
        ("burrow_wrong", "some", 77, b"unknown or revoked"),
    ):
        result = standard(world, name, data=b"hello", BURROW_TOKEN=token)
        assert result.returncode == code, result.stderr
        assert result.stdout == (b"hello" if code == 0 else b"")
        assert words in result.stderr


def test_what_cannot_work_is_told(world, tcp_upstream):
    result = standard(world, "gone", BURROW_SERVER=f"https://localhost:{free_port()}")
    assert result.returncode == 69, result.stderr
    world.agent("tcp", free_port(), "--private", "--name", "closed").ready()
    result = standard(world, "closed", data=b"hello")
    assert result.returncode == 1
    assert b"the connection was broken off: what closed leads to refused it" in result.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = burrow("connect", "closed", "--listen", port, env=world.env)
        assert busy.wait() == 78
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in busy.output
    for arguments, code, words in (
        (["closed"], 2, "one of --listen [HOST:]PORT, --stdio or --socks [HOST:]PORT is missing"),
        (["closed", "--listen", "1", "--stdio"], 2, "not allowed with"),
        (["closed", "--listen", "box"], 78, "write PORT, HOST:PORT"),
        (["closed", "--stdio", "--json"], 2, "--json is for --listen"),
        (["no name", "--stdio"], 78, "no possible name"),
    ):
        wrong = burrow("connect", *arguments, env=world.env)
        assert wrong.wait() == code, wrong.output
        assert words in wrong.output
    for arguments, words in (
        (["--private", "--port", "2000"], "no public port"),
        (["--allow-token", "ann"], "add --private"),
    ):
        wrong = burrow("tcp", "22", *arguments, env=world.env)
        assert wrong.wait() == 78, wrong.output
        assert words in wrong.output


def test_an_agent_that_comes_back_is_waited_for(world, tcp_upstream):
    relay = Relay(world.https)
    try:
        way = {"BURROW_SERVER": f"https://localhost:{relay.port}"}
        agent = world.agent("tcp", tcp_upstream(echo).port, "--private", "--name", "back", **way)
        agent.ready()
        _, port = connect(world, "back")
        target, relay.target = relay.target, ("127.0.0.1", free_port())
        relay.cut()
        wait_for(lambda: agent.events("disconnected"), "the agent to notice")
        with socket.create_connection(("127.0.0.1", port), 30) as visitor:
            visitor.sendall(b"hello")
            relay.target = target
            assert visitor.recv(100) == b"hello"
    finally:
        relay.close()


def test_two_nodes(two_nodes, tcp_upstream):
    """The agent is at one node, who connects at the other; and the edge of neither knows the tunnel."""
    one, two = two_nodes
    one.agent("tcp", tcp_upstream(echo).port, "--private", "--name", "far").ready()
    result = standard(two, "far", data=b"around the corner")
    assert (result.returncode, result.stdout) == (0, b"around the corner"), result.stderr
    result = standard(two, "farther", data=b"hello")
    assert result.returncode == 77
    web = one.agent("http", tcp_upstream(echo).port, "--private", "--name", "web")
    web.ready()
    for world in two_nodes:
        assert world.get("web.burrow.localhost")[0] == 404
