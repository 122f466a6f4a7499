"""Visitors that leave or close their half, and answers that begin before the request has ended."""

import contextlib
import socket
import ssl
import subprocess
import time

import pytest

from tests.e2e.harness import World, wait_for
from tests.programs import program


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory):
    """The same as C{world}, without TLS."""
    world = World(tmp_path_factory.mktemp("plain"), tls="off")
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    yield world
    world.close()


@pytest.fixture(scope="module", params=["plain", "tls"])
def either(request):
    """A world, first without TLS, then with it."""
    return request.getfixturevalue("plain_world" if request.param == "plain" else "world")


class Bodies:
    """A service that collects the requests that it reads to their end, answering each after it."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"):
        self.whole, self.ends = [], []
        self._answer = answer

    def __call__(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        chunked = b"transfer-encoding: chunked" in head.lower()
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        try:
            while not body.endswith(b"0\r\n\r\n") if chunked else len(body) < length:
                piece = connection.recv(65536)
                if not piece:
                    return
                body += piece
        except OSError:
            return
        self.whole.append(body)
        try:
            connection.sendall(self._answer)
            self.ends.append(connection.recv(1))
        except OSError as error:
            self.ends.append(error)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_request_that_is_whole_arrives_though_its_visitor_leaves_at_once(either, tcp_upstream, size, framing):
    service = Bodies()
    agent = either.agent("http", tcp_upstream(service).port)
    head = f"POST / HTTP/1.1\r\nHost: {agent.host}\r\n"
    body = b"x" * size
    if framing == "length":
        sent = f"{head}Content-Length: {size}\r\n\r\n".encode() + body
    else:
        chunks = b"%x\r\n%b\r\n" % (size, body) if size else b""
        sent = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
    for _ in range(20):
        visitor = either.connect(agent.host)
        visitor.sendall(sent)
        visitor.close()
    wait_for(lambda: len(service.whole) == 20, "each of the 20 requests", 15)
    assert {body.count(b"x") for body in service.whole} == {size}


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_request_that_is_not_whole_is_reset_at_the_upstream(either, tcp_upstream, size):
    begun, ends = [], []

    def serve(connection):
        begun.append(connection.recv(1))
        try:
            while connection.recv(65536):
                pass
            ends.append(None)
        except OSError as error:
            ends.append(error)

    agent = either.agent("http", tcp_upstream(serve).port)
    for number in range(3):
        visitor = either.connect(agent.host)
        head = f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: {size + 1}\r\n\r\n"
        visitor.sendall(head.encode() + b"x" * size)
        wait_for(lambda number=number: len(begun) > number, "the beginning at the upstream")
        visitor.close()
        wait_for(lambda number=number: len(ends) > number, "the end at the upstream")
    assert all(isinstance(end, ConnectionResetError) for end in ends)


UPGRADE = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def upgraded(world, host):
    """A visitor's connection on which 101 has come."""
    visitor = world.connect(host)
    visitor.sendall(UPGRADE.replace("{host}", host).encode())
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += visitor.recv(1)
    assert data.startswith(b"HTTP/1.1 101 ")
    return visitor


def test_what_a_visitor_says_before_it_leaves_arrives_after_an_upgrade(either, tcp_upstream):
    got = []

    def serve(connection):
        connection.recv(65536)
        connection.sendall(SWITCHED)
        data = b""
        while piece := connection.recv(65536):
            data += piece
        got.append(data)

    agent = either.agent("http", tcp_upstream(serve).port)
    for _ in range(20):
        visitor = upgraded(either, agent.host)
        visitor.sendall(b"12345")
        visitor.close()
    wait_for(lambda: len(got) == 20, "the bytes and the end of 20 visitors", 10)
    assert set(got) == {b"12345"}


def test_upgraded_connection_closes_one_half_after_the_other(plain_world, tcp_upstream):
    """As a WebSocket does when its server closes first, and when its client does."""
    ends = []

    def serve(connection):
        connection.recv(65536)
        connection.sendall(SWITCHED)
        first = connection.recv(65536)
        if first == b"you first":
            assert connection.recv(1) == b""
            connection.sendall(b"bye " * 100_000)
            ends.append(b"")
            return
        connection.sendall(b"bye " * 100_000)
        connection.shutdown(socket.SHUT_WR)
        try:
            data = b""
            while piece := connection.recv(65536):
                data += piece
            ends.append(data)
        except OSError as error:
            ends.append(error)

    agent = plain_world.agent("http", tcp_upstream(serve).port)
    for first, after in ((b"you first", b""), (b"I first", b"last words")):
        visitor = upgraded(plain_world, agent.host)
        visitor.sendall(first)
        if not after:
            visitor.shutdown(socket.SHUT_WR)
        data = b""
        while piece := visitor.recv(65536):
            data += piece
        assert data == b"bye " * 100_000
        if after:
            visitor.sendall(after)
        visitor.close()
        wait_for(lambda: ends, "the end at the upstream", 5)
        assert ends.pop() == after


@pytest.mark.parametrize("who", ["client", "server"])
def test_websocket_that_closes_as_it_should_resets_nobody(either, tcp_upstream, who):
    """The closing handshake of RFC 6455 section 7; then the server closes the connection, and the client."""
    ends = []
    close = b"\x88\x02\x03\xe8"

    def serve(connection):
        connection.recv(65536)
        connection.sendall(SWITCHED)
        if who == "server":
            connection.sendall(close)
        assert connection.recv(65536) == b"\x88\x82\x00\x00\x00\x00\x03\xe8"
        if who == "client":
            connection.sendall(close)
        connection.shutdown(socket.SHUT_WR)
        try:
            ends.append(connection.recv(1))
        except OSError as error:
            ends.append(error)

    agent = either.agent("http", tcp_upstream(serve).port)
    for _ in range(10):
        visitor = upgraded(either, agent.host)
        if who == "server":
            assert visitor.recv(4) == close
        visitor.sendall(b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        if who == "client":
            assert visitor.recv(4) == close
        assert visitor.recv(1) == b""
        visitor.close()
    wait_for(lambda: len(ends) == 10, "the ends at the upstream", 10)
    assert ends == [b""] * 10


def half_closed(world, host, request):
    """Send a request and the end of the visitor's half; return all that comes back."""
    if not world.tls:
        with world.connect(host) as visitor:
            visitor.sendall(request)
            visitor.shutdown(socket.SHUT_WR)
            data = b""
            while piece := visitor.recv(65536):
                data += piece
            return data
    context = ssl.create_default_context(cafile=str(world.ca_file))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with socket.create_connection((world.address, world.https), 20) as plain:

        def run(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    piece = plain.recv(65536)
                    if piece:
                        incoming.write(piece)
                    else:
                        incoming.write_eof()
                finally:
                    plain.sendall(outgoing.read())

        run(tls.do_handshake)
        tls.write(request)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()  # close_notify, and nothing read yet
        plain.sendall(outgoing.read())
        data = b""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while piece := run(lambda: tls.read(65536)):
                data += piece
        return data


def test_visitor_that_closes_its_half_gets_its_answers(either, tcp_upstream):
    def serve(connection):
        data = b""
        while piece := connection.recv(65536):
            data += piece
        assert data.count(b"GET ") == 1
        time.sleep(0.1)
        body = b"late " * 100_000
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    agent = either.agent("http", tcp_upstream(serve).port)
    request = f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode()
    answer = half_closed(either, agent.host, request)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.partition(b"\r\n\r\n")[2] == b"late " * 100_000
    assert b"Connection: close" in answer
    page = half_closed(either, "localhost", b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 404 ")


def test_pipelined_requests_before_a_half_close_are_all_answered(either, upstream):
    from tests.e2e.harness import reply

    agent = either.agent("http", upstream(lambda handler: reply(handler, handler.path.encode())).port)
    agent.ready()
    requests = "".join(f"GET /{number} HTTP/1.1\r\nHost: {agent.host}\r\n\r\n" for number in range(5))
    answer = half_closed(either, agent.host, requests.encode())
    assert answer.count(b"HTTP/1.1 200 ") == 5
    assert answer.endswith(b"/4")
    assert answer.count(b"Connection: close") == 1


def test_visitor_that_is_gone_is_seen_by_an_upstream_that_only_writes(either, tcp_upstream):
    gone = []

    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        try:
            while True:
                connection.sendall(b"data: 1\n\n")
                time.sleep(0.05)
        except OSError:
            gone.append(time.monotonic())

    agent = either.agent("http", tcp_upstream(serve).port)
    visitor = either.connect(agent.host)
    visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
    data = b""
    while b"data: 1" not in data:
        data += visitor.recv(65536)
    left = time.monotonic()
    visitor.close()
    wait_for(lambda: gone, "the end at the upstream", 10)
    assert gone[0] - left < 5


# -- answers that begin early --------------------------------------------------------------------------------


def curl(world, host, *arguments, **options):
    """Run curl on a host of the world's; its exit code, what it wrote, and what it complained of."""
    port = world.https if world.tls else world.http
    command = [program("curl"), "--silent", "--show-error", "--noproxy", "*", "--max-time", "15"]
    command += ["--connect-to", f"{host}:{port}:{world.address}:{port}"]
    if world.tls:
        command += ["--cacert", str(world.ca_file)]
    scheme = "https" if world.tls else "http"
    command += [*arguments, f"{scheme}://{host}:{port}/"]
    done = subprocess.run(command, capture_output=True, timeout=30, **options)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("after", [0, 300_000])
@pytest.mark.parametrize("keep", [True, False])
def test_curl_gets_an_answer_in_the_middle_of_its_upload(either, tcp_upstream, tmp_path, after, keep):
    """The upstream answers and leaves what it has not read, at once or a moment later."""

    def serve(connection):
        left = after
        while left > 0:
            left -= len(connection.recv(65536))
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
        if keep:
            time.sleep(1.5)

    agent = either.agent("http", tcp_upstream(serve).port)
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(20_000_000))
    for expect in ("Expect:", "Expect: 100-continue") if not after else ("Expect:",):
        for _ in range(1 if keep else 3):
            code, out, error = curl(
                either,
                agent.host,
                *("-H", expect, "--data-binary", f"@{upload}", "-w", "%{http_code}"),
            )
            assert (code, out, error) == (0, b"too large413", "")


def test_curl_is_told_that_its_expectation_fails(either, tcp_upstream):
    """
    RFC 9110 section 10.1.1: the edge cannot know whether its body still comes, so it closes the connection.
    By HTTP/2 there is nothing to close, and curl 7.88 asks once more on its own: it ends with an error then,
    92 here and 47 beside nginx.
    """

    def serve(connection):
        assert b"100-continue" in connection.recv(65536).lower()
        connection.sendall(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        connection.recv(1)

    agent = either.agent("http", tcp_upstream(serve).port)
    arguments = ("--http1.1", "-H", "Expect: 100-continue", "--data-binary", "x" * 1000)
    arguments = (*arguments, "-w", "%{http_code}")
    for _ in range(3):
        assert curl(either, agent.host, *arguments) == (0, b"417", "")


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_answer_of_an_upstream_that_leaves_the_body_unread_is_never_a_502(either, tcp_upstream, size):
    """A client that sends everything before it reads."""

    def serve(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    agent = either.agent("http", tcp_upstream(serve).port)
    agent.ready()
    statuses = [either.get(agent.host, method="POST", body=bytes(size))[0] for _ in range(10)]
    assert statuses == [413] * 10


def test_early_answer_goes_on_while_the_body_does(either, tcp_upstream):
    """An upstream that answers each piece as it comes."""

    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        left = 5
        while left:
            piece = connection.recv(1)
            connection.sendall(b"1\r\n%b\r\n" % piece)
            left -= 1
        connection.sendall(b"0\r\n\r\n")

    agent = either.agent("http", tcp_upstream(serve).port)
    with either.connect(agent.host) as visitor:
        visitor.sendall(f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: 5\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += visitor.recv(65536)
        assert b"Connection: close" in data
        for letter in (b"a", b"b", b"c", b"d", b"e"):
            visitor.sendall(letter)
            while b"1\r\n%b\r\n" % letter not in data:
                data += visitor.recv(65536)
        while piece := visitor.recv(65536):
            data += piece
    assert data.endswith(b"0\r\n\r\n")


def test_bad_chunk_in_a_request_whose_answer_has_begun_breaks_the_connection(either, tcp_upstream):
    """No page of ours may look like a part of the upstream's answer."""
    ends = []

    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        try:
            while connection.recv(65536):
                pass
            ends.append(None)
        except OSError as error:
            ends.append(error)

    agent = either.agent("http", tcp_upstream(serve).port)
    with either.connect(agent.host) as visitor:
        visitor.sendall(
            f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        data = b""
        while not data.endswith(b"begun"):
            data += visitor.recv(65536)
        visitor.sendall(b"no size\r\n")
        rest = b""
        with contextlib.suppress(OSError):
            while piece := visitor.recv(65536):
                rest += piece
    assert rest == b""
    wait_for(lambda: ends, "the end at the upstream", 5)
    assert isinstance(ends[0], ConnectionResetError)
