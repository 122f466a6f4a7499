"""The Twisted endpoint `burrow:name=demo`: under twistd, and under any running reactor."""

import contextlib
import os
import signal
import socket
from urllib.parse import urlsplit

from tests.e2e.harness import free_port, wait_for
from tests.e2e.programs import run
from tests.e2e.test_private import standard
from tests.e2e.test_twistd import TWISTD


def test_twistd_web_has_a_public_url(world, tmp_path):
    (tmp_path / "large").write_bytes(large := os.urandom(3_000_000))
    (tmp_path / "hello.txt").write_text("hello")
    web = world.program(*TWISTD, "web", "--listen", "burrow:name=site", "--path", tmp_path, env=world.env)
    web.line(rf"https://site\.localhost:{world.https} leads to this program")
    assert world.get("site.localhost", "/hello.txt")[::2] == (200, b"hello")
    assert world.get("site.localhost", "/large")[::2] == (200, large)
    status, headers, body = world.get("site.localhost", "/hello.txt", Range="bytes=1-2")
    assert (status, body, headers["Content-Range"]) == (206, b"el", "bytes 1-2/5")
    wait_for(lambda: '"127.0.0.1" - - [' in web.output, "the visitor's address in the access log")
    web.kill(signal.SIGTERM)
    assert web.wait() == -signal.SIGTERM, web.output  # as twistd ends: by the signal, once all is closed
    assert "Server Shut Down" in web.output
    assert "Traceback" not in web.output
    assert world.get("site.localhost", "/hello.txt")[0] != 200


def test_twistd_tells_why_there_is_no_tunnel(world, tmp_path):
    """Of an endpoint that fails after the start, Twisted tells nothing; so the endpoint does."""
    nobody = {**world.env, "BURROW_SERVER": f"https://localhost:{free_port()}"}
    web = world.program(*TWISTD, "web", "--listen", "burrow:name=site", "--path", tmp_path, env=nobody)
    web.line("no tunnel is opened: cannot reach https://localhost.*connection refused")
    web.kill(signal.SIGTERM)
    assert web.wait() == -signal.SIGTERM
    web = world.program(*TWISTD, "web", "--listen", "burrow:kind=udp", "--path", tmp_path, env=world.env)
    assert web.wait() != 0
    assert "tunnels of kind udp bring a program no connections" in web.output


TWISTED = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

class Shout(Protocol):
    def connectionMade(self):
        self.factory.peers.append(self.transport.getPeer())
        self.transport.write(b"who is there? ")
    def dataReceived(self, data):
        if data == b"close":
            self.factory.closing.callback(None)
        else:
            self.transport.write(data.upper())

factory = Factory.forProtocol(Shout)
factory.peers, factory.closing = [], Deferred()
"""


def test_any_factory_under_a_running_reactor(world):
    code = (
        TWISTED
        + """
async def main(reactor):
    port = await serverFromString(reactor, "burrow:kind=tcp").listen(factory)
    print(port.url, port.getHost().port)
    await factory.closing
    await port.stopListening()
    print(factory.peers[0].host, factory.numPorts, port.tunnel.closed)
    print("burrow" in [thread.name for thread in threading.enumerate()])
react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
    )
    program = run(world, code)
    url = urlsplit(program.line(r"tcp://localhost:\d+").string.split()[0])
    with socket.create_connection(("127.0.0.1", url.port), 60) as visitor:
        visitor.sendall(b"hello")
        answer = b""
        while not answer.endswith(b"HELLO"):
            answer += visitor.recv(100)
        assert answer == b"who is there? HELLO"
        visitor.sendall(b"close")
        assert program.wait() == 0, program.output
        # The visitor's half is open still when the program has gone: its end may be followed by a reset.
        with contextlib.suppress(ConnectionResetError):
            assert visitor.recv(100) == b""
    assert program.lines[1:] == ["127.0.0.1 0 True", "False"]


def test_before_the_reactor_runs_and_under_asyncios(world):
    """Called in a task, before Twisted's asyncio reactor runs; visitors come by a private tunnel."""
    code = (
        """
import asyncio
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
"""
        + TWISTED
        + """
async def main():
    deferred = serverFromString(reactor, "burrow:name=hidden:kind=tcp:private=yes").listen(factory)
    port = await deferred.asFuture(loop)
    print(port.url, flush=True)
    await factory.closing.asFuture(loop)
    await port.stopListening().asFuture(loop)
    reactor.stop()
task = loop.create_task(main())
reactor.run()
task.result()
print("done")
"""
    )
    program = run(world, code)
    program.line("private://hidden")
    result = standard(world, "hidden", data=b"close")
    assert result.stdout == b"who is there? ", result.stderr
    assert program.wait() == 0, program.output
    assert program.lines[-1] == "done"


def test_errors_are_those_of_the_command_line(world):
    code = (
        TWISTED
        + """
async def main(reactor):
    for text in sys.argv[1:]:
        try:
            await serverFromString(reactor, text).listen(factory)
        except burrow.BurrowError as error:
            print(type(error).__name__, error)
    print(factory.numPorts)
react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
    )
    nobody = r"burrow:demo:server=http\://127.0.0.1\:1"
    program = run(world, code, "burrow:demo:token=wrong", nobody, "burrow:demo:kind=udp")
    assert program.wait() == 0, program.output
    assert "the token is unknown or revoked" in program.lines[0]
    assert program.lines[1] == "ServerUnreachable cannot reach http://127.0.0.1:1: connection refused"
    assert program.lines[2].startswith("ConfigError tunnels of kind udp bring a program no connections")
    assert program.lines[3] == "0"
