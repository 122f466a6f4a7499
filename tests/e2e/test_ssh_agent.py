"""C{--ssh}: a plain OpenSSH client is an agent."""

import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.harness import World, burrow, free_port, reply, wait_for
from tests.e2e.relay import Relay
from tests.programs import program
from tests.redis import RedisServer


class SshWorld(World):
    """A world that takes ssh. @ivar key: the options of a client with a key of the token called test."""

    def __init__(self, folder, **options):
        self.ssh_port, key = free_port(), folder / "key"
        self.key = ["-i", key]
        subprocess.run(
            [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key],
            check=True,
            timeout=30,
        )
        super().__init__(folder, ssh=f"127.0.0.1:{self.ssh_port}", ssh_keys=folder / "key.pub", **options)

    def client(self, name, *arguments, options=(), port=None, **env):
        """An ssh client. @param port: where it connects to; by default the server's."""
        command = [program("ssh"), "-F", "none", "-p", port or self.ssh_port]
        command += ["-o", "StrictHostKeyChecking=no"]
        command += ["-o", f"UserKnownHostsFile={self.folder}/known", "-o", "ExitOnForwardFailure=yes"]
        return self.program(*command, *options, *arguments, f"{name}@127.0.0.1", env=env)


@pytest.fixture(scope="module")
def ssh_world(tmp_path_factory):
    """A world that takes ssh, with keys of its token; and what makes clients."""
    world = SshWorld(tmp_path_factory.mktemp("ssh"))
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world, world.client, world.key
    world.close()


@pytest.fixture
def own_world(tmp_path):
    """Makes such a world for one test."""
    made = []

    def make(**options):
        folder = tmp_path / f"world{len(made)}"
        folder.mkdir()
        made.append(SshWorld(folder, **options))
        made[-1].start_server()
        if "store" not in options:
            made[-1].token()
        return made[-1]

    yield make
    for world in made:
        world.close()


def test_http_and_tcp_by_a_key(ssh_world, upstream, tcp_upstream):
    world, client, key = ssh_world

    def answer(handler):
        if handler.path == "/large":
            reply(handler, b"0123456789abcdef" * 500_000)
        else:
            size = int(handler.headers.get("Content-Length", 0))
            reply(handler, handler.headers["X-Forwarded-For"].encode() + handler.rfile.read(size)[-5:])

    service = upstream(answer)
    web = client("blog", "-tt", "-R", f"80:127.0.0.1:{service.port}", options=key)
    web.line("https://blog.localhost")
    assert world.get("blog.localhost")[2] == b"127.0.0.1"
    assert len(world.get("blog.localhost", "/large")[2]) == 8_000_000
    assert world.get("blog.localhost", method="POST", body=b"x" * 3_000_000 + b"large")[2].endswith(b"large")
    service.close()
    wait_for(lambda: world.get("blog.localhost")[0] == 502, "the page of a service that is away")
    port = int(world.ports.partition("-")[0]) + 3
    both = [f"{port}:127.0.0.1:{tcp_upstream(echo).port}", f"0:127.0.0.1:{tcp_upstream(echo).port}"]
    tcp = client("db", "-N", "-v", "-R", both[0], "-R", both[1], options=key)
    other = int(tcp.line("Allocated port ([0-9]+) for remote forward")[1])
    for each in (port, other):
        with socket.create_connection(("127.0.0.1", each), 60) as visitor:
            sent = os.urandom(3_000_000)
            visitor.sendall(sent[:1000])
            assert visitor.recv(1000)
            visitor.shutdown(socket.SHUT_WR)
            while visitor.recv(65536):
                pass
    tcp.stop()
    wait_for(lambda: not connects(port), "the port to be closed")


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except OSError:
        return False
    return True


def test_token_as_the_password_and_who_is_refused(ssh_world, tmp_path):
    world, client, _ = ssh_world
    ask = tmp_path / "ask"
    ask.write_text('#!/bin/sh\necho "$ANSWER"\n')
    ask.chmod(0o700)

    def by_password(name, answer, *arguments):
        env = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "ANSWER": answer}
        options = ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]
        return client(name, *arguments, options=options, **env)

    good = by_password("mine", world.env["BURROW_TOKEN"], "-tt", "-R", "80:127.0.0.1:1")
    good.line("https://mine.localhost")
    wrong = by_password("mine", "burrow_wrong", "-N", "-R", "80:127.0.0.1:1")
    assert wrong.wait() == 255
    assert "Permission denied" in wrong.output
    taken = by_password("other", world.token("other"), "-N", "-R", "80:127.0.0.1:1")
    taken_name = by_password("mine", world.token("another"), "-N", "-R", "80:127.0.0.1:1")
    assert taken_name.wait() == 255
    assert "remote port forwarding failed" in taken_name.output
    assert taken.process.poll() is None
    assert world.get("mine.localhost")[0] == 502
    assert "opening channel" not in world.server.output
    assert "Traceback" not in world.server.output


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def asks(port):
    """A visitor's connection to an echo, which answers."""
    visitor = socket.create_connection(("127.0.0.1", port), 60)
    still_answers(visitor)
    return visitor


def still_answers(visitor):
    visitor.sendall(b"x")
    assert visitor.recv(1) == b"x"


def test_reload_keeps_ssh_connections_until_their_clients_leave(own_world, upstream, tcp_upstream):
    world = own_world()
    service = upstream(lambda handler: reply(handler, b"hello"))
    forwarded = f"80:127.0.0.1:{service.port}"
    web = world.client("blog", "-tt", "-R", forwarded, options=world.key)
    web.line("https://blog.localhost")
    to_echo = f"0:127.0.0.1:{tcp_upstream(echo).port}"
    tcp = world.client("db", "-N", "-v", "-R", to_echo, options=world.key)
    port = int(tcp.line("Allocated port ([0-9]+) for remote forward")[1])
    kept, (old,) = asks(port), world.workers
    command = burrow("server", "reload", "--state", world.folder / "state")
    assert command.wait() == 0, command.output

    web.line("being replaced: your connection goes on, for 3600 s at most")
    new = world.client("shop", "-tt", "-R", forwarded, options=world.key)
    new.line("https://shop.localhost")
    assert not any("being replaced" in line for line in new.lines)
    for host in ("blog.localhost", "shop.localhost"):
        assert world.get(host)[2] == b"hello"
    asks(port).close()
    still_answers(kept)

    # Whoever starts its client again has the name in the new process, and the old client ends.
    again = world.client("blog", "-tt", "-R", forwarded, options=world.key)
    again.line("https://blog.localhost")
    assert web.wait() == 255
    assert "Received disconnect" in web.output
    assert world.get("blog.localhost")[2] == b"hello"
    assert old in world.workers
    still_answers(kept)
    tcp.stop()
    wait_for(lambda: old not in world.workers, "the end of the process that nobody uses any more")


def test_clients_are_told_why_their_connections_end(own_world):
    world = own_world(drain="0.5")
    before = world.client("before", "-N", "-R", "80:127.0.0.1:1", options=world.key)
    wait_for(lambda: "tunnel https://before" in world.server.output, "its tunnel")
    command = burrow("server", "reload", "--state", world.folder / "state")
    assert command.wait() == 0, command.output
    assert before.wait() == 255
    assert "the server was replaced: start ssh again to come to the new one" in before.output
    after = world.client("after", "-N", "-R", "80:127.0.0.1:1", options=world.key)
    nothing = world.client("nothing", "-tt", options=world.key)
    nothing.line("no tunnel is open")
    wait_for(lambda: "tunnel https://after" in world.server.output, "its tunnel")
    world.server.kill(signal.SIGTERM)
    assert (after.wait(), nothing.wait()) == (255, 255)
    for client in (after, nothing):
        assert "the server stops: start ssh again when it is back" in client.output
    assert "no tunnel is open" not in after.output
    assert world.server.wait() == 0


def test_a_node_that_stops_sends_its_ssh_clients_away(own_world, upstream):
    redis = RedisServer()
    try:
        options = {"store": f"redis://127.0.0.1:{redis.port}", "tls": "off", "domain": "burrow.localhost"}
        nodes = [own_world(**options) for _ in range(2)]
        created = burrow("token", "create", "test", "--store", options["store"])
        assert created.wait() == 0, created.output
        service = upstream(lambda handler: reply(handler, b"hello"))
        forwarded = ["-N", "-R", f"80:127.0.0.1:{service.port}"]
        client = nodes[0].client("blog", *forwarded, options=nodes[0].key)
        nodes[1].client("shop", *forwarded, options=nodes[1].key)
        # Each is reached by the other node: both know the other, and are linked.
        wait_for(lambda: nodes[1].get("blog.burrow.localhost")[0] == 200, "its tunnel at the other node")
        wait_for(lambda: nodes[0].get("shop.burrow.localhost")[0] == 200, "the other's")
        nodes[0].server.kill(signal.SIGTERM)
        assert client.wait() == 255
        assert "start ssh again, which leads to another" in client.output, nodes[0].server.output
        again = nodes[1].client("blog", *forwarded, options=nodes[1].key)
        wait_for(lambda: nodes[1].get("blog.burrow.localhost")[0] == 200, "its tunnel again")
        assert again.process.poll() is None
    finally:
        redis.stop()


def test_visitors_wait_for_a_client_that_was_lost_and_not_for_one_that_left(own_world, upstream):
    world = own_world(hold="600")
    service = upstream(lambda handler: reply(handler, b"hello"))
    forwarded = f"80:127.0.0.1:{service.port}"

    def start():
        client = world.client("blog", "-tt", "-R", forwarded, options=world.key)
        client.line("https://blog.localhost")
        return client

    start().kill()  # without a word
    closed = f"tunnel https://blog.localhost:{world.https} is closed"
    wait_for(lambda: closed in world.server.output, "its end")
    with ThreadPoolExecutor() as pool:
        visit = pool.submit(world.get, "blog.localhost")
        again = start()
        assert visit.result()[2] == b"hello"
    again.kill(signal.SIGTERM)  # OpenSSH says good-bye
    again.wait()
    wait_for(lambda: world.get("blog.localhost")[0] == 503, "the page of an agent that left")


def test_clients_that_stand_still_or_whose_line_is_cut_are_found_out(own_world, upstream):
    world = own_world(hold="600")
    service = upstream(lambda handler: reply(handler, b"hello"))
    relay = Relay(world.ssh_port)

    def start(name, port=None):
        client = world.client(name, "-tt", "-R", f"80:127.0.0.1:{service.port}", options=world.key, port=port)
        client.line(f"https://{name}.localhost")
        return client

    stopped, _, answers = start("stopped"), start("cut", relay.port), start("answers")
    stopped.kill(signal.SIGSTOP)
    relay.silence()
    for name in ("stopped", "cut"):
        closed = f"tunnel https://{name}.localhost:{world.https} is closed"
        wait_for(lambda closed=closed: closed in world.server.output, "its end")
    assert world.server.output.count("has answered nothing for half a minute") == 2
    with ThreadPoolExecutor() as pool:
        visits = [pool.submit(world.get, f"{name}.localhost") for name in ("stopped", "cut")]
        for name in ("stopped", "cut"):
            start(name)
        assert [visit.result()[2] for visit in visits] == [b"hello"] * 2
    stopped.kill(signal.SIGCONT)
    assert stopped.wait() == 255
    assert answers.process.poll() is None
    assert world.get("answers.localhost")[2] == b"hello"
    relay.close()
