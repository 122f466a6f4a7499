"""The agent's screen, its lines and its events, with a real server, agents and visitors."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.harness import burrow, free_port, reply, wait_for
from tests.terminals import Terminal


class Hello(BaseHTTPRequestHandler):
    """A service on a port that the test chooses."""

    def do_GET(self):
        reply(self, b"hello")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def watch(world, request):
    """Runs an agent on a terminal."""

    def start(*arguments, size=(80, 24)):
        command = [sys.executable, "-m", "burrow.cli.main", *map(str, arguments)]
        terminal = Terminal(command, size=size, env=world.env)
        request.addfinalizer(terminal.close)
        return terminal

    return start


def test_a_person_sees_requests_as_they_happen(world, watch, upstream):
    go_on = threading.Event()

    def answer(handler):
        if handler.path == "/slow":
            go_on.wait(30)
        reply(handler, b"x" * 5000, 503 if handler.path == "/broken" else 200)

    screen = watch("http", upstream(answer).port, "--name", "seen")
    screen.shows("online")
    screen.shows(f"https://seen.localhost:{world.https} → http://localhost:")
    screen.shows("token test")
    screen.shows("No requests yet")
    host = "seen.localhost"
    world.get(host, "/first\x1b[31m?a=b".replace("\x1b", "%1b"))
    screen.shows("200 /first%1b[31m?a=b")
    screen.shows("5.0 kB")
    slow = threading.Thread(target=world.get, args=(host, "/slow"))
    slow.start()
    screen.shows("··· /slow")
    screen.shows("1 running")
    go_on.set()
    slow.join(30)
    screen.shows("200 /slow")
    world.get(host, "/broken", method="POST", body=b"abc")
    screen.shows("503 /broken")
    screen.shows("1 failed")
    screen.child.send("/status:5xx\r")
    screen.shows("filter status:5xx 1 match")
    assert "/slow" not in screen.text
    screen.child.send("\x1b")
    screen.shows("/slow")
    screen.child.send("x")
    assert screen.wait() == 0
    assert screen.is_clean()
    said = screen.output.rpartition(b"\x1b[?1049l")[2].decode()
    assert said.startswith(f"https://seen.localhost:{world.https} -> http://localhost:")
    assert "3 requests, 1 failed in" in said


def test_the_demo_shows_its_request(watch, tmp_path):
    screen = watch("demo", "--https", "127.0.0.1:0", "--state", tmp_path)
    screen.shows("1 request ·")
    screen.shows("GET     200 /")
    screen.child.send("x")
    assert screen.wait() == 0
    assert b"\n1 request in" in screen.output.rpartition(b"\x1b[?1049l")[2]


def test_nothing_listens_on_the_upstream_until_something_does(world, watch):
    port = free_port()
    screen = watch("http", port, "--name", "later", size=(100, 24))
    warning = f"Nothing listens on localhost port {port}. Is the service started?"
    screen.shows(warning)
    assert world.get("later.localhost", "/")[0] == 502
    screen.shows("502 /")
    server = ThreadingHTTPServer(("127.0.0.1", port), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    screen.shows_no_more(warning)
    server.shutdown()
    server.server_close()
    world.get("later.localhost", "/again")
    screen.shows(warning)


def test_the_connection_is_lost_and_comes_back(make_world, upstream):
    world = make_world()
    service = upstream(lambda handler: reply(handler, b"hello"))
    command = [sys.executable, "-m", "burrow.cli.main", "http", str(service.port), "--name", "back"]
    screen = Terminal(command, env=world.env)
    try:
        screen.shows("online")
        world.server.stop()
        screen.shows("connection lost")
        screen.shows("trying again")
        screen.shows("offline")
        world.start_server()
        screen.shows("online")
        assert "lost" not in screen.text
        world.get("back.localhost", "/")
        screen.shows("200 /")
        screen.child.send("\x03")
        assert screen.wait() == 0
        assert screen.is_clean()
    finally:
        screen.close()


def test_a_tcp_tunnel_shows_its_connections(world, watch, tcp_upstream):
    def serve(connection):
        connection.sendall(connection.recv(100) * 1000)

    service = tcp_upstream(serve)
    screen = watch("tcp", service.port, "--name", "line")
    screen.shows("online")
    screen.shows("tcp://localhost:")
    port = int(screen.text.split("tcp://localhost:")[1].split()[0])
    with socket.create_connection(("127.0.0.1", port), 30) as visitor:
        visitor.sendall(b"abc")
        visitor.shutdown(socket.SHUT_WR)
        while visitor.recv(65536):
            pass
    screen.shows("TCP     end 127.0.0.1:")
    screen.shows("3.0 kB")


def test_a_program_reads_an_event_a_request(world, upstream):
    service = upstream(lambda handler: reply(handler, b"hello", 404))
    agent = world.agent("http", service.port, "--name", "events")
    agent.ready()
    world.get("events.localhost", "/é?q=\"'".replace("é", "%C3%A9"), X_Request_Id="mine-1")
    (event,) = wait_for(lambda: agent.events("request"))
    assert event["ms"] > 0
    assert event["visitor"].startswith("127.0.0.1:")
    expected = {
        "event": "request",
        "tunnel": "events",
        "request_id": "mine-1",
        "protocol": "http",
        "method": "GET",
        "path": "/%C3%A9?q=\"'",
        "status": 404,
        "received": 0,
        "sent": 5,
    }
    assert {key: event[key] for key in expected} == expected
    agent.program.kill(signal.SIGTERM)
    assert agent.program.wait() == 0


def test_a_person_without_a_terminal_reads_a_line_a_request_or_none(world, upstream):
    service = upstream(lambda handler: reply(handler, b"hello"))
    loud = burrow("http", service.port, "--name", "loud", "--no-inspect", env=world.env)
    quiet = burrow("http", service.port, "--name", "quiet", "--quiet", env=world.env)
    for agent, name in ((loud, "loud"), (quiet, "quiet")):
        world.started.append(agent)
        assert agent.line("->").string.startswith(f"https://{name}.localhost:")
        world.get(f"{name}.localhost", "/seen")
    assert loud.line(r"^\d{4}-\d\d-\d\dT[\d:]{8}[+-]\d{4} GET /seen 200 \d+\.\d ms 5 bytes$")
    for agent in (loud, quiet):
        agent.kill(signal.SIGTERM)
        assert agent.wait() == 0
    assert len(quiet.lines) == 1


def test_who_does_not_read_delays_nobody(world, upstream):
    service = upstream(lambda handler: reply(handler, b"hello"))
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "burrow.cli.main", "http", str(service.port), "--name", "full", "--json"]
    with subprocess.Popen(command, stdout=writer, env={**os.environ, **world.env}) as agent:
        os.close(writer)
        try:
            ready = b""
            while not ready.endswith(b"\n"):
                ready += os.read(reader, 1)
            assert json.loads(ready)["event"] == "ready"
            connection = world.http_connection("full.localhost")
            for number in range(600):  # 200 kB and more of events, into 64 kB of pipe
                connection.request("GET", f"/{number}/" + "x" * 200)
                assert connection.getresponse().read() == b"hello"
            connection.close()
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0
        finally:
            agent.kill()
            os.close(reader)


def test_the_reader_leaves(world, upstream):
    service = upstream(lambda handler: reply(handler, b"hello"))
    command = [sys.executable, "-m", "burrow.cli.main", "http", str(service.port), "--name", "gone"]
    command.append("--no-inspect")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, env={**os.environ, **world.env}) as agent:
        try:
            assert b"->" in agent.stdout.readline()
            agent.stdout.close()
            assert world.get("gone.localhost", "/one")[0] == 200
            told = b"burrow: cannot write to standard output: Broken pipe; going on\n"
            assert agent.stderr.readline() == told
            assert world.get("gone.localhost", "/two")[0] == 200
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0
            assert agent.stderr.read() == b""
        finally:
            agent.kill()
