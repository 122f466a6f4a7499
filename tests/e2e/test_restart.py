"""A server that is replaced while it serves, and one that dies."""

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from http.client import HTTPException

import pytest

from tests.e2e.harness import TcpUpstream, burrow, reply, reply_digest, wait_for

BLOCK = bytes(random.Random(5).randbytes(1024**2))
SIZE = 50 * 1024**2


def slowly(handler):
    """GET /slow sends SIZE bytes in about 4 s; anything else answers at once, on a kept connection."""
    if handler.command == "POST":
        reply_digest(handler)
    elif handler.path == "/slow":
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        for _ in range(SIZE // len(BLOCK)):
            handler.wfile.write(BLOCK)
            time.sleep(0.08)
    else:
        reply(handler, b"hello")


class Load:
    """Visitors that ask without pause, on kept connections and new ones, and note what fails."""

    def __init__(self, world, host, count=4):
        self.answers = 0
        self.failures = []
        self._world = world
        self._host = host
        self._going = True
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(count)]
        self._threads += [threading.Thread(target=self._poll, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _keep(self):
        connection = None
        while self._going:
            try:
                connection = connection or self._world.http_connection(self._host)
                connection.request("GET", "/")
                response = connection.getresponse()
                body = response.read()
                closes = response.getheader("Connection") == "close"
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
                continue
            self._note(response.status, body)
            if closes:
                connection.close()
                connection = None

    def _poll(self):
        while self._going:
            begun = time.monotonic()
            try:
                status, _, body = self._world.get(self._host)
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
            else:
                self._note(status, body)
            time.sleep(max(0, 0.05 - (time.monotonic() - begun)))

    def _note(self, status, body):
        if (status, body) == (200, b"hello"):
            self.answers += 1
        else:
            self.failures.append((status, body))

    def stop(self):
        self._going = False
        for thread in self._threads:
            thread.join()


def reload(world):
    command = burrow("server", "reload", "--state", world.folder / "state")
    assert command.wait() == 0, command.output
    return command


@pytest.mark.parametrize("count", [1, 2])
def test_reload_under_load_fails_no_request_and_cuts_no_download(make_world, upstream, count):
    world = make_world(workers=str(count))
    agent = world.agent("http", upstream(slowly).port, "--name", "busy")
    agent.ready()
    before = world.workers
    assert len(before) == count
    load = Load(world, agent.host)
    digests = []

    def download():
        body = world.get(agent.host, "/slow")[2]
        digests.append(hashlib.sha256(body).hexdigest())

    def upload():
        digests.append(world.get(agent.host, "/", "POST", BLOCK * 50)[2].decode())

    expected = hashlib.sha256(BLOCK * 50).hexdigest()
    for _ in range(3):
        moving = [threading.Thread(target=work) for work in (download, download, upload)]
        for thread in moving:
            thread.start()
        time.sleep(0.5)
        reload(world)
        for thread in moving:
            thread.join()
    load.stop()
    assert digests == [expected] * 9
    assert not load.failures, f"{len(load.failures)} of {load.answers} failed: {load.failures[:3]}"
    assert load.answers > 100
    # Some end only when what they serve has ended.
    wait_for(lambda: len(now := world.workers) == count and not set(before) & set(now), "the old ones' ends")
    assert agent.program.process.poll() is None
    assert not agent.events("disconnected")
    assert world.get(agent.host)[2] == b"hello"


def test_reload_keeps_tcp_connections_and_the_port(make_world):
    world = make_world()

    def echo(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

    service = TcpUpstream(echo)
    agent = world.agent("tcp", service.port)
    port = int(agent.url.rpartition(":")[2])
    kept = socket.create_connection(("127.0.0.1", port), 10)
    failures = []
    going = True

    def poll():
        while going:
            try:
                with socket.create_connection(("127.0.0.1", port), 10) as visitor:
                    visitor.sendall(b"ping")
                    if visitor.recv(10) != b"ping":
                        failures.append("no answer")
            except (OSError, HTTPException) as error:
                failures.append(repr(error))

    poller = threading.Thread(target=poll)
    poller.start()
    for number in range(3):
        reload(world)
        kept.sendall(b"%d" % number)
        assert kept.recv(10) == b"%d" % number
        time.sleep(1.5)
    going = False
    poller.join()
    assert not failures
    kept.close()
    wait_for(lambda: len(world.workers) == 1, "the old processes to end")
    service.close()


def test_reload_reads_the_configuration_again(make_world, tmp_path, upstream):
    """The new values hold; a wrong configuration changes nothing."""
    file = tmp_path / "server.toml"
    file.write_text("response-timeout = 30\n")
    world = make_world(config=file)

    def answer(handler):
        if handler.path == "/never":
            time.sleep(10)
        reply(handler, b"hello")

    agent = world.agent("http", upstream(answer).port, "--name", "config")
    agent.ready()
    file.write_text("response-timeout = 'nonsense'\n")
    command = burrow("server", "reload", "--state", world.folder / "state")
    assert command.wait() == 78
    assert "goes on as it was" in command.output
    assert "nonsense" in world.server.output
    assert world.get(agent.host)[2] == b"hello"
    file.write_text("response-timeout = 1\n")
    reload(world)
    assert world.get(agent.host)[2] == b"hello"
    assert world.get(agent.host, "/never")[0] == 504


SET_BACK = """
import os, time
real = time.time
def now():
    try:
        return real() - os.stat(os.environ["SET_BACK"]).st_size
    except OSError:
        return real()
time.time = now
"""
"""A sitecustomize module: the clock is as many seconds behind as a file has bytes."""


@pytest.mark.alone
def test_clock_that_is_set_back(make_world, monkeypatch, tmp_path, upstream):
    """By an hour, while a server with two workers and an agent run: nothing waits for an hour."""
    (tmp_path / "sitecustomize.py").write_text(SET_BACK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SET_BACK", str(tmp_path / "behind"))
    world = make_world(workers="2", hold="1", grace="2")
    service = upstream(slowly)
    agent = world.agent("http", service.port, "--name", "clock")
    assert world.get(agent.host)[2] == b"hello"
    (tmp_path / "behind").write_bytes(b"x" * 3600)
    for _ in range(10):
        assert world.get(agent.host)[2] == b"hello"
    agent.program.kill()
    begun = time.monotonic()
    assert world.get(agent.host)[0] == 503
    assert time.monotonic() - begun < 20
    again = world.agent("http", service.port, "--name", "clock")
    assert world.get(again.host, timeout=20)[2] == b"hello"
    before = world.workers
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(world.workers) == 2 and before[0] not in world.workers, "another worker")
    wait_for(lambda: world.get(again.host, timeout=20)[0] == 200, "an answer")


def test_worker_that_is_killed_is_replaced(make_world, upstream):
    world = make_world(workers="2")
    agent = world.agent("http", upstream(slowly).port, "--name", "worker")
    agent.ready()
    load = Load(world, agent.host, 2)
    for _ in range(3):
        victim = random.choice(world.workers)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda victim=victim: len(set(world.workers) - {victim}) == 2, "another worker")
        wait_for(lambda: world.get(agent.host)[2] == b"hello", "an answer")
    load.stop()
    # Requests that ran on the connections of the dead process are lost with it: one a visitor each time.
    assert not [failure for failure in load.failures if isinstance(failure, tuple)]
    assert not [failure for failure in load.failures if "Refused" in failure or "timed out" in failure]
    assert len(load.failures) <= 3 * 3
    assert load.answers >= 3, "some between the kills, however slow the machine is"


def test_visitor_polls_through_kill_9_and_no_request_fails(make_world, upstream):
    """The sockets stay with the process that stays: who comes meanwhile waits. No poll runs at a kill."""
    world = make_world()
    agent = world.agent("http", upstream(slowly).port, "--name", "polled")
    agent.ready()
    for number in range(100):
        if number % 25 == 10:
            os.kill(world.workers[0], signal.SIGKILL)
        assert world.get(agent.host)[2] == b"hello"
        time.sleep(0.05)


def test_reload_of_nothing_signals_no_stranger(tmp_path):
    """The file of a server that was killed, and whose process id another process has now."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        for text in (None, json.dumps({"pid": stranger.pid, "reloaded": 0, "failed": 0})):
            if text:
                (tmp_path / "server.json").write_text(text)
            command = burrow("server", "reload", "--state", tmp_path)
            assert command.wait() == 78
            assert "no `burrow server` runs" in command.output
        assert stranger.poll() is None
        stranger.kill()


def test_second_server_on_a_folder_is_refused_and_a_store_in_memory_not_reloaded(tmp_path):
    listen = ["--https", "127.0.0.1:0", "--http", "off"]
    server = burrow("server", "--store", "memory", "--state", tmp_path, *listen)
    try:
        server.line("Burrow serves")
        second = burrow("server", "--store", "memory", "--state", tmp_path, *listen)
        assert second.wait() == 78
        assert second.output.startswith("burrow: another `burrow server` runs with the state folder")
        command = burrow("server", "reload", "--state", tmp_path)
        assert command.wait() == 78
        assert "restart the server instead" in server.output
    finally:
        server.stop()


def test_workers_need_a_store_that_can_be_shared(tmp_path):
    command = burrow("server", "--workers", "2", "--store", "memory", "--state", tmp_path)
    assert command.wait() == 78
    assert "--workers" in command.output


def test_systemd_is_told(make_world, tmp_path):
    """sd_notify(3), as C{Type=notify-reload} wants it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        path = tmp_path / "notify"
        receiver.bind(str(path))
        receiver.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = str(path)
        try:
            world = make_world()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert receiver.recv(1000) == b"READY=1"
        os.kill(world.workers[0], signal.SIGKILL)
        assert receiver.recv(1000) == b"STATUS=no server process runs; starting another"
        assert receiver.recv(1000) == b"STATUS=serving again"
        reload(world)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", receiver.recv(1000))
        assert receiver.recv(1000) == b"READY=1"
        world.server.kill(signal.SIGTERM)
        assert receiver.recv(1000) == b"STOPPING=1"
        assert world.server.wait() == 0
        assert not (world.folder / "state" / "server.json").exists()
