"""
How much of a server, or of an agent, strangers may take: connections of an address, and file descriptors,
when all are open.
"""

import contextlib
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.harness import PATIENCE, World, burrow, read_response, reply, wait_for

MOST = 5
STRANGER, NEIGHBOUR, PROXY = "127.0.0.21", "127.0.0.22", "127.0.0.23"


@pytest.fixture(scope="module", params=["plain", "tls"])
def counting(request, tmp_path_factory):
    """A server that counts the loopback's addresses, too, but for the agents' own and one proxy's."""
    options = {"tls": "off"} if request.param == "plain" else {}
    world = World(
        tmp_path_factory.mktemp(request.param),
        max_connections_per_address=str(MOST),
        uncounted_address=["127.0.0.1", PROXY],
        **options,
    )
    world.began = time.monotonic()
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


def connect(port, address=STRANGER):
    """A connection; None if it was reset before we could look."""
    try:
        return socket.create_connection(("127.0.0.1", port), 10, source_address=(address, 0))
    except ConnectionResetError:
        return None


def kept(connections, *ports):
    """
    Which connections are open and silent; the others were reset. They are to these ports: each accepts in
    turn, so what came before has been looked at when a later one, which does not count, has an answer. A
    reset goes out a turn after its connection was accepted: so a second one is asked.
    """
    for port in ports * 2:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as later:
            later.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert later.recv(1)
    return [connection is not None and not was_reset(connection) for connection in connections]


def was_reset(connection):
    connection.setblocking(False)
    try:
        came = connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    raise AssertionError(f"neither silent nor reset: {came!r}")


def is_kept(port):
    connection = connect(port)
    try:
        return kept([connection], port)[0]
    finally:
        close_all([connection])


def close_all(connections):
    for connection in filter(None, connections):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def until_free(port):
    """Wait until the server gave all places of the stranger's back."""

    def all_kept():
        fresh = [connect(port) for _ in range(MOST)]
        try:
            return all(kept(fresh, port))
        finally:
            close_all(fresh)

    wait_for(all_kept, "the places")


@pytest.mark.parametrize("where", ["main", "http", "tcp"])
def test_address_has_so_many_connections_and_no_more(counting, tcp_upstream, where):
    def answer(connection):
        connection.sendall(connection.recv(1))

    agent = counting.agent("tcp", tcp_upstream(answer).port)
    port = {
        "main": counting.https if counting.tls else counting.http,
        "http": counting.http,
        "tcp": int(agent.ready()[0]["url"].rpartition(":")[2]),
    }[where]
    until_free(port)
    first = [connect(port) for _ in range(MOST)]
    assert kept(first, port) == [True] * MOST
    more = [connect(where) for where in (port, port, counting.http)]  # one count for all ports
    others = [connect(port, NEIGHBOUR), *(connect(port, PROXY) for _ in range(MOST + 1))]
    assert kept(first + more + others, port, counting.http) == [True] * MOST + [False] * 3 + [True] * (
        MOST + 2
    )
    close_all(first[:1])
    wait_for(lambda: is_kept(port), "the place that was given back")
    close_all(first + more + others)
    told = f"{STRANGER} has {MOST} connections open"
    counting.server.line(told)
    minutes = (time.monotonic() - counting.began) // 60
    assert 1 <= len([line for line in counting.server.lines if told in line]) <= 1 + minutes  # once a minute
    assert not [line for line in counting.server.lines if "Traceback" in line]


def test_agents_with_a_token_are_not_counted(counting, upstream):
    """Those without are: a WebSocket that shows none is any visitor's."""
    service = upstream(lambda handler: reply(handler, b"ok"))
    agent = counting.agent("http", service.port)
    host = agent.host
    port = counting.https if counting.tls else counting.http
    until_free(port)
    lines = (
        f"GET /_burrow/agent HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Protocol: burrow.yamux.v1\r\nAuthorization: Bearer {counting.env['BURROW_TOKEN']}\r\n"
        f"Burrow-Agent: stranger-%d\r\n\r\n"
    )
    agents = []
    for number in range(MOST + 2):
        agents.append(counting.connect("localhost", source=STRANGER))
        agents[-1].sendall((lines % number).encode())
        assert read_response(agents[-1])[0] == 101
    visitors = [counting.connect(host, source=STRANGER) for _ in range(MOST)]
    assert not is_kept(port)
    visitors[0].sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert read_response(visitors[0])[::2] == (200, b"ok")
    close_all(agents + visitors)


FILES = 64
USED_UP = f"all {FILES} files and connections that this process may have are open"


def processor_time(pid):
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_sober(program):
    """Whether a program's log is as short and clear as it should be when its descriptors were used up."""
    output = program.output
    assert f"may have only {FILES} files and connections open" in output
    assert output.count("LimitNOFILE") == 2  # at the start, and once when they were used up
    assert output.count(USED_UP) == 1
    assert "Traceback" not in output
    assert "Error" not in output
    said = [
        line for line in program.lines if '"event": "request"' not in line
    ]  # an agent tells each by --json
    assert len(said) < 15, output
    return True


@pytest.mark.parametrize("tls", ["local", "off"])
def test_server_without_file_descriptors_goes_on(make_world, upstream, tcp_upstream, tls):
    world = make_world(tls=tls, files=FILES)
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"ok")).port)
    database = world.agent("tcp", tcp_upstream(lambda connection: connection.sendall(b"ok")).port)
    assert world.get(agent.host)[0] == 200
    tcp_port = int(database.ready()[0]["url"].rpartition(":")[2])
    (worker,) = world.workers
    port = world.https if world.tls else world.http
    visitors = [connect(number, "127.0.0.1") for number in [port] * FILES + [tcp_port] * 4]
    world.server.line(USED_UP)
    before = processor_time(worker)
    time.sleep(2)
    assert processor_time(worker) - before < 0.5  # no port is looked at again and again
    # Who waits is served when others have left.
    with connect(port, "127.0.0.1") as waiting:
        close_all(visitors)
        waiting.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
        assert read_response(waiting)[0] == (308 if world.tls else 200)  # TLS is spoken there
    assert world.get(agent.host)[::2] == (200, b"ok")
    with contextlib.closing(connect(tcp_port, "127.0.0.1")) as client:
        assert client.recv(2) == b"ok"
    assert is_sober(world.server)


@pytest.mark.parametrize("kind", ["port", "unix"])
def test_agent_without_file_descriptors_goes_on(world, tcp_upstream, tmp_path, kind):
    go_on = threading.Event()

    def serve(connection):
        request = connection.recv(65536)
        if b"/slow" in request:
            go_on.wait(PATIENCE)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    path = tmp_path / "socket"
    listener = socket.create_server(str(path), family=socket.AF_UNIX, backlog=256) if kind == "unix" else None
    service = tcp_upstream(serve, listener)
    agent = world.agent("http", f"unix:{path}" if kind == "unix" else service.port, files=FILES)
    assert world.get(agent.host)[::2] == (200, b"ok")
    visitors = [world.connect(agent.host) for _ in range(FILES + 10)]
    for visitor in visitors:
        visitor.sendall(f"GET /slow HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
    agent.program.line(USED_UP)
    status, headers, body = world.get(agent.host)
    assert (status, headers["Burrow-Page"]) == (502, "upstream-failed")
    assert b"as many connections open as it may have" in body
    go_on.set()
    answers = [read_response(visitor)[0] for visitor in visitors]
    assert {*answers} == {200, 502}
    assert answers.count(200) > FILES // 2
    close_all(visitors)
    wait_for(lambda: world.get(agent.host)[::2] == (200, b"ok"), "an answer")
    assert is_sober(agent.program)


def test_server_and_agent_that_cannot_even_start_say_why(world, tmp_path):
    """Wherever they get to with so few descriptors, it ends with words or goes on."""
    ports = [f"--{name}=127.0.0.1:0" for name in ("https", "http")]
    programs = []
    for files in (12, 28):
        programs.append((files, burrow("server", f"--state={tmp_path / str(files)}", *ports, files=files)))
    programs.append((9, world.agent("http", "1", files=9).program))
    try:
        for files, program in programs:
            wait_for(lambda program=program: program.ended() or said(program), "a word")
            program.line(f"may have only {files} files")
            assert "Traceback" not in program.output
    finally:
        for _, program in programs:
            program.stop()


def said(program):
    """Whether it serves, or has said why not."""
    return "Burrow serves" in program.output or '"event"' in program.output
