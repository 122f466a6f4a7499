"""C{--ssh}: a plain OpenSSH client is an agent."""

import os
import socket
import subprocess

import pytest

from tests.e2e.harness import World, free_port, reply, wait_for
from tests.programs import program


@pytest.fixture(scope="module")
def ssh_world(tmp_path_factory):
    """A world that takes ssh, with keys of its token; and what makes clients."""
    port, tmp_path = free_port(), tmp_path_factory.mktemp("ssh")
    key = tmp_path / "key"
    subprocess.run(
        [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key],
        check=True,
        timeout=30,
    )
    world = World(tmp_path, ssh=f"127.0.0.1:{port}", ssh_keys=tmp_path / "key.pub")
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()

    def client(name, *arguments, options=(), **env):
        command = [program("ssh"), "-F", "none", "-p", str(port), "-o", "StrictHostKeyChecking=no"]
        command += ["-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "ExitOnForwardFailure=yes"]
        return world.program(*command, *options, *arguments, f"{name}@127.0.0.1", env=env)

    yield world, client, ["-i", key]
    world.close()


def test_http_and_tcp_by_a_key(ssh_world, upstream, tcp_upstream):
    world, client, key = ssh_world

    def answer(handler):
        if handler.path == "/large":
            reply(handler, b"0123456789abcdef" * 500_000)
        else:
            size = int(handler.headers.get("Content-Length", 0))
            reply(handler, handler.headers["X-Forwarded-For"].encode() + handler.rfile.read(size)[-5:])

    def echo(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

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
