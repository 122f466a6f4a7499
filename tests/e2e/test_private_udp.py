"""Private tunnels of kind udp: datagrams by `burrow connect`, with real sockets and processes."""

import json
import random
import signal
import socket
import struct
import threading

import pytest
from twisted.names import dns

from tests.e2e.harness import burrow, free_port, wait_for
from tests.e2e.relay import Relay
from tests.e2e.test_private import standard
from tests.e2e.test_udp import UdpUpstream, Visitor


def resolve(question):
    """Answers a DNS question: an address made of the name, or for TXT a text of its size (RFC 1035)."""
    message = dns.Message()
    message.fromStr(question)
    (query,) = message.queries
    answer = dns.Message(id=message.id, answer=True, recDes=True, maxSize=65_507)
    answer.queries = message.queries
    label = query.name.name.split(b".")[0].decode()
    if query.type == dns.TXT:
        payload = dns.Record_TXT(*[b"x" * 200] * int(label))
    else:
        payload = dns.Record_A(f"192.0.2.{int(label)}", 60)
    answer.answers = [dns.RRHeader(query.name.name, query.type, payload=payload, ttl=60)]
    return [answer.toStr()]


def ask(visitor, name, kind=dns.A):
    """Ask as a resolver does, again if nothing comes: the records of the answer."""
    question = dns.Message(id=random.randrange(1, 65_536), recDes=True)
    question.queries = [dns.Query(name, kind)]

    def answered():
        got = visitor.ask(question.toStr(), 5)
        if got is None:
            return None
        message = dns.Message()
        message.fromStr(got)
        return message if message.id == question.id else None

    return wait_for(answered, "the answer")


@pytest.fixture
def echo():
    service = UdpUpstream(lambda datagram: [datagram])
    yield service
    service.close()


def connect(world, name, *arguments, **env):
    """C{burrow connect NAME --listen 0 --json}, and the URL of its UDP port."""
    command = burrow("connect", name, "--listen", "0", "--json", *arguments, env={**world.env, **env})
    world.started.append(command)
    ready = json.loads(command.line('"event": "ready"').string)
    assert (ready["url"], ready["scheme"]) == (f"private://{name}", "udp")
    return command, f"udp://{ready['listen']}"


def test_dns_from_three_sources(world):
    service = UdpUpstream(resolve)
    try:
        agent = world.agent("udp", service.port, "--private", "--name", "dns")
        assert agent.url == "private://dns"
        _, url = connect(world, "dns")
        visitors = [Visitor(url) for _ in range(3)]
        for turn in range(20):
            for number in random.sample(range(3), 3):
                host = 1 + number * 20 + turn
                (record,) = ask(visitors[number], f"{host}.example.com").answers
                assert record.payload.dottedQuad() == f"192.0.2.{host}"
        (record,) = ask(visitors[0], "300.example.com", dns.TXT).answers
        assert record.payload.data == [b"x" * 200] * 300  # of 60 kB, as over a path that takes it
        assert len(service.sources) == 3
    finally:
        service.close()


def test_sizes(world, echo):
    world.agent("udp", echo.port, "--private", "--name", "sizes").ready()
    Visitor(connect(world, "sizes")[1]).has_all_sizes_echoed()


def test_cuts_of_both_sides(world, echo):
    """Both ways to the server are cut in the middle: who asks again is answered, from the same sources."""
    relays = [Relay(world.https) for _ in range(2)]
    agents_way, visitors_way = ({"BURROW_SERVER": f"https://localhost:{relay.port}"} for relay in relays)
    try:
        world.agent("udp", echo.port, "--private", "--name", "game", **agents_way).ready()
        _, url = connect(world, "game", **visitors_way)
        players = [Visitor(url) for _ in range(3)]
        for player in players:
            player.wait(b"join")
            player.drain()
        for turn in range(30):
            if turn % 10 == 5:
                relays[turn // 10 % 2].cut()
            for number, player in enumerate(players):
                text = b"%d %d" % (number, turn)
                assert player.wait(text, text) == text
        assert all(relay.connections > 1 for relay in relays)
        assert len(echo.sources) == 3
    finally:
        for relay in relays:
            relay.close()


def test_the_server_is_restarted(make_world, echo):
    world = make_world()
    world.agent("udp", echo.port, "--private", "--name", "dns").ready()
    visitor = Visitor(connect(world, "dns")[1])
    visitor.wait(b"hello")
    world.server.kill(signal.SIGKILL)
    world.server.wait()
    world.start_server()
    assert visitor.wait(b"hello again", b"hello again")


def test_two_nodes(two_nodes, echo):
    """The agent is at one node, who connects at the other."""
    one, two = two_nodes
    one.agent("udp", echo.port, "--private", "--name", "far").ready()
    _, url = connect(two, "far")
    visitors = [Visitor(url) for _ in range(2)]
    for number, visitor in enumerate(visitors):
        text = b"around the corner %d" % number
        assert visitor.wait(text, text) == text
    assert len(echo.sources) == 2


def test_a_silent_source_is_forgotten(world, echo):
    world.agent("udp", echo.port, "--private", "--name", "short", "--idle", "0.5").ready()
    visitor = Visitor(connect(world, "short")[1])
    visitor.wait(b"hello")
    before = set(echo.sources)

    def new_source():
        threading.Event().wait(1)  # silent for longer than --idle
        visitor.wait(b"again")
        return echo.sources - before

    assert wait_for(new_source, "a new source at the upstream")


def test_a_tunnel_that_is_opened_later(world, echo):
    """The port is a TCP one until the server knows what the tunnel carries; then the command is ready."""
    command = burrow("connect", "later", "--listen", "0", "--json", env=world.env)
    world.started.append(command)
    command.line('"refused", "message": "there is no private tunnel')
    world.agent("udp", echo.port, "--private", "--name", "later").ready()
    ready = json.loads(command.line('"event": "ready"').string)
    assert ready["scheme"] == "udp"
    assert Visitor(f"udp://{ready['listen']}").wait(b"hello") == b"hello"


def test_who_may_connect(world, echo):
    ann, bob = world.token("ann-udp"), world.token("bob-udp")
    world.agent("udp", echo.port, "--private", "--name", "some", "--allow-token", "ann-udp").ready()
    _, url = connect(world, "some", BURROW_TOKEN=ann)
    assert Visitor(url).wait(b"hello") == b"hello"
    command = burrow("connect", "some", "--listen", "0", "--json", env={**world.env, "BURROW_TOKEN": bob})
    world.started.append(command)
    command.line("no private tunnel 'some' that this token may use")


def test_what_cannot_work_is_told(world, echo):
    world.agent("udp", echo.port, "--private", "--name", "grams").ready()
    result = standard(world, "grams", data=b"hello")
    assert result.returncode == 77
    assert b"grams carries datagrams" in result.stderr
    assert b"write `burrow connect grams --listen PORT`" in result.stderr
    command = burrow("connect", "--socks", "0", "--json", env=world.env)
    world.started.append(command)
    port = int(command.line(r'"socks": "127\.0\.0\.1:(\d+)"')[1])
    host = b"grams.burrow"
    for request, code, words in ((1, 1, "grams carries datagrams"), (3, 7, "asked for UDP")):
        with socket.create_connection(("127.0.0.1", port), 30) as program:
            program.sendall(b"\5\1\0")
            assert program.recv(2) == b"\5\0"
            program.sendall(b"\5%c\0\3%c%b" % (request, len(host), host) + struct.pack("!H", 53))
            assert program.recv(10)[1] == code
        command.line(words)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        busy = burrow("connect", "grams", "--listen", port, env=world.env)
        assert busy.wait() == 78
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in busy.output
    for arguments, words in (
        (["--private", "--port", "2000"], "no public port"),
        (["--allow-token", "ann"], "add --private"),
    ):
        wrong = burrow("udp", "53", *arguments, env=world.env)
        assert wrong.wait() == 78, wrong.output
        assert words in wrong.output


def test_late_datagrams_are_dropped_and_told(world, echo):
    """The line stalls while a program goes on sending: what the stream does not take is lost, and counted."""
    relay = Relay(world.https)
    try:
        world.agent("udp", echo.port, "--private", "--name", "slow").ready()
        command, url = connect(world, "slow", BURROW_SERVER=f"https://localhost:{relay.port}")
        visitor = Visitor(url)
        visitor.wait(b"hello")
        relay.silence()
        for number in range(4000):
            visitor.socket.send(b"%4d" % number + bytes(1400))
            if number % 20 == 0:
                visitor.ask(b"", 0.005)
        assert visitor.wait(b"after", b"after") == b"after"
        command.kill(signal.SIGINT)
        assert json.loads(command.line('"event": "dropped"').string)["count"] > 1000
    finally:
        relay.close()


def test_a_server_that_stops_does_not_wait_for_datagrams(make_world, echo):
    world = make_world()
    world.agent("udp", echo.port, "--private", "--name", "dns").ready()
    visitor = Visitor(connect(world, "dns")[1])
    visitor.wait(b"hello")
    world.server.kill(signal.SIGTERM)
    assert world.server.wait() == 0
