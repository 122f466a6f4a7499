"""HTTP through a tunnel, as visitors and upstreams meet it."""

import hashlib
import json
import random
import socket
import ssl
import threading
import time

import pytest

from tests.e2e.harness import (
    free_port,
    memory,
    read_response,
    reply,
    reply_digest,
    wait_for,
)


def tell(handler):
    """Answer with what was asked, as JSON."""
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length)
    fields = [[name, value] for name, value in handler.headers.items()]
    told = {
        "method": handler.command,
        "path": handler.path,
        "headers": fields,
        "body": body.decode("latin-1"),
    }
    reply(handler, json.dumps(told).encode(), Content_Type="application/json")


@pytest.fixture(scope="module")
def teller(world):
    """A tunnel to a service that tells what it was asked."""
    from tests.e2e.harness import Upstream

    service = Upstream(tell)
    agent = world.agent("http", service.port, "--name", "teller")
    agent.ready()
    yield agent.host
    service.close()


def told(body):
    """What the upstream got: the parsed JSON, with its header fields as a dictionary of lists."""
    parsed = json.loads(body)
    fields = {}
    for name, value in parsed["headers"]:
        fields.setdefault(name.lower(), []).append(value)
    parsed["headers"] = fields
    return parsed


def test_request_arrives_as_it_was_asked(world, teller):
    status, headers, body = world.get(
        teller, "/a/b?c=%20d&e", method="PUT", body=b"some body", X_Custom="one", Cookie="a=b; c=d"
    )
    got = told(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (got["method"], got["path"], got["body"]) == ("PUT", "/a/b?c=%20d&e", "some body")
    assert got["headers"]["x-custom"] == ["one"]
    assert got["headers"]["cookie"] == ["a=b; c=d"]
    assert got["headers"]["host"] == [teller]


def test_upstream_learns_of_its_visitor(world, teller):
    got = told(world.get(teller)[2])["headers"]
    assert got["x-forwarded-for"] == ["127.0.0.1"]
    assert got["x-forwarded-proto"] == ["https"]
    assert got["x-forwarded-host"] == [teller]
    assert got["x-forwarded-port"] == [teller.rpartition(":")[2] if ":" in teller else "443"]
    assert got["via"][0].startswith("1.1 burrow-")
    assert got["forwarded"] == [f"for=127.0.0.1;proto=https;host={teller}"]


def test_forged_fields_are_dropped(world, teller):
    forged = {
        "X_Forwarded_For": "6.6.6.6",
        "X-Forwarded-Proto": "ftp",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6",
    }
    request = f"GET / HTTP/1.1\r\nHost: {teller}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in forged.items())
    body = world.raw(teller, request.encode() + b"\r\n")[2]
    assert b"6.6.6.6" not in body
    assert b"evil" not in body


def test_hop_by_hop_fields_stay_on_their_hop(world, teller):
    request = (
        f"GET / HTTP/1.1\r\nHost: {teller}\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        "Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers, deflate\r\nX-Stays: 1\r\n\r\n"
    )
    got = told(world.raw(teller, request.encode())[2])["headers"]
    assert "x-hop" not in got
    assert "keep-alive" not in got
    assert "proxy-connection" not in got
    assert got["te"] == ["trailers"]
    assert got["x-stays"] == ["1"]


def test_keep_alive_and_pipelining(world, teller):
    with world.connect(teller) as visitor:
        one = f"GET /%d HTTP/1.1\r\nHost: {teller}\r\n\r\n"
        visitor.sendall("".join(one % number for number in range(20)).encode())
        paths = [told(read_response(visitor)[2])["path"] for _ in range(20)]
        assert paths == [f"/{number}" for number in range(20)]
        visitor.sendall((one % 99).encode())
        assert told(read_response(visitor)[2])["path"] == "/99"


def test_absolute_target_counts_before_host(world, teller):
    request = f"GET http://{teller}/x?y HTTP/1.1\r\nHost: elsewhere.localhost\r\n\r\n"
    assert told(world.raw(teller, request.encode())[2])["path"] == "/x?y"


def test_http_1_0(world, teller):
    with world.connect(teller) as visitor:
        visitor.sendall(f"GET /old HTTP/1.0\r\nHost: {teller}\r\n\r\n".encode())
        assert told(read_response(visitor)[2])["path"] == "/old"
        assert visitor.recv(1) == b""


def test_chunked_request_and_trailers(world, tcp_upstream):
    got = []

    def serve(connection):
        data = b""
        while b"\r\n0\r\n" not in data or not data.endswith(b"\r\n\r\n"):
            data += connection.recv(65536)
        got.append(data)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Sum: abc\r\n\r\n"
        )

    agent = world.agent("http", tcp_upstream(serve).port)
    request = (
        f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        "3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: tail\r\n\r\n"
    )
    with world.connect(agent.host) as visitor:
        visitor.sendall(request.encode())
        data = b""
        while not data.endswith(b"X-Sum: abc\r\n\r\n"):
            data += visitor.recv(65536)
    assert b"\r\nb\r\nhello world\r\n0\r\n" in data or b"\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n" in data
    assert b"Trailer: X-Sum" in data
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert body.endswith(b"0\r\nX-T: tail\r\n\r\n")
    assert b"abc" in body
    assert b"de" in body


def test_head_has_a_length_and_no_body(world, upstream):
    agent = world.agent("http", upstream(lambda handler: reply(handler, b"x" * 1000)).port)
    with world.connect(agent.host) as visitor:
        for _ in range(2):
            visitor.sendall(f"HEAD / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
            status, headers, body = read_response(visitor, "HEAD")
            assert (status, headers["Content-Length"], body) == (200, "1000", b"")


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(world, tcp_upstream, status):
    def serve(connection):
        while connection.recv(65536):
            connection.sendall(f"HTTP/1.1 {status} Nothing\r\nETag: x\r\n\r\n".encode())

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        for _ in range(2):
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
            assert read_response(visitor)[::2] == (status, b"")


def test_expect_100_continue(world, tcp_upstream):
    def serve(connection):
        head = connection.recv(65536)
        assert b"100-continue" in head.lower()
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        body = connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        head = f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        visitor.sendall(head.encode())
        interim = b""
        while interim.count(b"\r\n\r\n") < 2:
            interim += visitor.recv(65536)
        assert interim.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue")
        visitor.sendall(b"body")
        assert read_response(visitor)[2] == b"body"


def test_final_answer_before_the_body_is_sent(world, tcp_upstream):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        connection.recv(1)

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        visitor.sendall(
            f"POST / HTTP/1.1\r\nHost: {agent.host}\r\nContent-Length: 100000000\r\n\r\n".encode()
        )
        visitor.sendall(b"x" * 100_000)
        assert read_response(visitor)[::2] == (413, b"no")


def test_body_that_ends_with_the_connection(world, tcp_upstream):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nfirst ")
        connection.sendall(b"second")

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        for _ in range(2):  # the visitor's connection outlives the upstream's
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
            assert read_response(visitor)[2] == b"first second"


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_broken_answer_breaks_the_visitors_connection(world, tcp_upstream, framing):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\npart".encode())

    agent = world.agent("http", tcp_upstream(serve).port)
    for version in ("1.1", "1.0"):
        with world.connect(agent.host) as visitor:
            visitor.sendall(f"GET / HTTP/{version}\r\nHost: {agent.host}\r\n\r\n".encode())
            data = b""
            visitor.suppress_ragged_eofs = False
            # A clean close, which is b"", would say that the answer is whole.
            with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
                while True:
                    piece = visitor.recv(65536)
                    assert piece, data
                    data += piece
            assert not data.endswith(b"0\r\n\r\n")


def test_kept_connection_that_the_upstream_closes_is_replaced(world, tcp_upstream):
    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        for _ in range(30):
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
            assert read_response(visitor)[::2] == (200, b"ok")


def stream_chunks(handler):
    """Write a chunk each time the test says so."""
    handler.send_response(200)
    handler.send_header("Content-Type", handler.headers.get("X-Want", "text/event-stream"))
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for number in range(5):
        piece = b"data: %d\n\n" % number
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        handler.wfile.flush()
        handler.server.steps.acquire(timeout=20)
    handler.wfile.write(b"0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/octet-stream", "text/html"])
def test_every_chunk_comes_as_it_is_written(world, upstream, method, kind):
    """The upstream writes the next chunk only when the visitor has the one before."""
    service = upstream(stream_chunks)
    service.server.steps = threading.Semaphore(0)
    agent = world.agent("http", service.port)
    connection = world.http_connection(agent.host)
    connection.request(method, "/", b"" if method == "POST" else None, {"X-Want": kind})
    response = connection.getresponse()
    assert response.headers["Content-Type"] == kind
    for number in range(5):
        assert response.read1(100) == b"data: %d\n\n" % number
        service.server.steps.release()
    assert response.read() == b""


def test_visitor_that_leaves_is_gone_at_the_upstream_soon(world, tcp_upstream):
    gone = threading.Event()

    def serve(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        try:
            while connection.recv(1):
                pass
        except OSError:
            pass
        gone.set()

    agent = world.agent("http", tcp_upstream(serve).port)
    visitor = world.connect(agent.host)
    visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
    data = b""
    while b"data: 1" not in data:
        data += visitor.recv(65536)
    visitor.close()
    assert gone.wait(5)


def test_visitor_that_leaves_before_the_answer_is_gone_too(world, tcp_upstream):
    asked, gone = threading.Event(), threading.Event()

    def serve(connection):
        connection.recv(65536)
        asked.set()
        try:
            while connection.recv(1):
                pass
        except OSError:
            pass
        gone.set()

    agent = world.agent("http", tcp_upstream(serve).port)
    visitor = world.connect(agent.host)
    visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
    assert asked.wait(10)
    visitor.close()
    assert gone.wait(5)


def test_upgrade_and_what_comes_after(world, tcp_upstream):
    def serve(connection):
        head = connection.recv(65536)
        assert b"upgrade: websocket" in head.lower()
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello "
        )
        while data := connection.recv(65536):
            connection.sendall(data)

    agent = world.agent("http", tcp_upstream(serve).port)
    with world.connect(agent.host) as visitor:
        head = f"GET / HTTP/1.1\r\nHost: {agent.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        visitor.sendall(head.encode())
        data = b""
        while not data.endswith(b"hello "):
            data += visitor.recv(65536)
        assert data.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: websocket" in data.lower()
        visitor.sendall(b"\x00\xffraw")
        assert visitor.recv(100) == b"\x00\xffraw"


def test_upgrade_that_is_declined(world, teller):
    request = (
        f"POST / HTTP/1.1\r\nHost: {teller}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 4\r\n\r\nbody"
    )
    got = told(world.raw(teller, request.encode())[2])
    assert got["body"] == "body"
    assert "upgrade" not in got["headers"]
    assert "http2-settings" not in got["headers"]


def test_websocket_client(world, tmp_path):
    """A real WebSocket server and client: Autobahn's own, and websocket-client."""
    import websocket

    script = tmp_path / "echo.py"
    script.write_text(
        "import sys\n"
        "from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol\n"
        "from twisted.internet import reactor\n"
        "class Echo(WebSocketServerProtocol):\n"
        "    def onMessage(self, payload, isBinary):\n"
        "        self.sendMessage(payload, isBinary)\n"
        "factory = WebSocketServerFactory()\n"
        "factory.protocol = Echo\n"
        "port = reactor.listenTCP(0, factory, interface='127.0.0.1')\n"
        "print('port', port.getHost().port, flush=True)\n"
        "reactor.run()\n"
    )
    import sys

    service = world.program(sys.executable, script)
    port = service.line(r"port (\d+)")[1]
    agent = world.agent("http", port)
    client = websocket.create_connection(
        agent.url.replace("https", "wss") + "/chat",
        sslopt={"ca_certs": str(world.folder / "state" / "ca.pem")},
        sockopt=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        host=agent.host,
        socket=world.connect(agent.host),
        timeout=20,
    )
    for message in ("hello", "ü" * 1000, "x" * 300_000):
        client.send(message)
        assert client.recv() == message
    client.close()


# -- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/html,*/*", "text/html"), ("application/json", "application/json"), ("*/*", "text/plain")],
)
def test_unknown_name(world, accept, kind):
    # No certificate is made for it: the default one has no name of its own.
    status, headers, body = world.get("nobody.localhost", sni="nobody.localhost", Accept=accept)
    assert status == 404
    assert headers["Content-Type"].startswith(kind)
    assert b"nobody.localhost" in body
    if kind == "application/json":
        assert json.loads(body)["error"] == "no-such-tunnel"


def test_agent_away(world, upstream):
    agent = world.agent("http", upstream(tell).port, "--name", "away")
    agent.ready()
    agent.program.stop()
    status, headers, body = world.get("away.localhost", Accept="application/json")
    assert (status, json.loads(body)["error"]) == (503, "agent-away")
    assert headers["Retry-After"]


def test_upstream_refused_names_the_port(world):
    port = free_port()
    agent = world.agent("http", port)
    status, _, body = world.get(agent.host, Accept="application/json")
    assert (status, json.loads(body)["error"]) == (502, "upstream-refused")
    assert f"port {port}" in json.loads(body)["detail"]
    html = world.get(agent.host, Accept="text/html")[2]
    assert b"<h1>The upstream did not answer</h1>" in html


def test_upstream_starts_after_its_tunnel(world, upstream):
    port = free_port()
    agent = world.agent("http", port)
    with world.connect(agent.host) as visitor:
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
        assert read_response(visitor)[0] == 502
        from tests.e2e.harness import TcpUpstream

        late = TcpUpstream.__new__(TcpUpstream)
        late._serve = lambda connection: (
            connection.recv(65536),
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"),
        )
        late.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=late._accept, daemon=True).start()
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
        assert read_response(visitor)[2] == b"up"
        late.close()


def test_upstream_on_ipv6_alone(world):
    listener = socket.create_server(("::1", free_port()), family=socket.AF_INET6)  # free on 127.0.0.1, too
    agent = world.agent("http", listener.getsockname()[1])

    def serve():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix")

    threading.Thread(target=serve, daemon=True).start()
    assert world.get(agent.host)[2] == b"six"
    listener.close()


def test_upstream_timeout(make_world, tcp_upstream):
    world = make_world(response_timeout="1")
    agent = world.agent("http", tcp_upstream(lambda connection: connection.recv(1) and time.sleep(20)).port)
    status, _, body = world.get(agent.host, Accept="application/json")
    assert (status, json.loads(body)["error"]) == (504, "upstream-timeout")


def test_the_server_itself(world):
    assert world.get("localhost")[0] == 200
    assert world.get("localhost", "/_burrow/health", Host="127.0.0.1")[0] == 200
    assert world.get("localhost", "/other")[0] == 404
    assert world.get("localhost", "/_burrow/agent")[0] == 400


def test_plain_port_redirects(world, teller):
    with socket.create_connection(("127.0.0.1", world.http)) as visitor:
        visitor.sendall(f"GET /x?y HTTP/1.1\r\nHost: {teller}:{world.http}\r\n\r\n".encode())
        status, headers, _ = read_response(visitor)
    assert (status, headers["Location"]) == (308, f"https://{teller}:{world.https}/x?y")


# -- large and slow --------------------------------------------------------------------------

GIGABYTES = 2 * 1024**3
BLOCK = random.Random(10).randbytes(1 << 20)


def block(number):
    """Of each block each part differs from all others, and from the same part of the block before."""
    return BLOCK[number % len(BLOCK) :] + BLOCK[: number % len(BLOCK)]


def source(handler):
    """Answer with as many bytes as the path says, in blocks."""
    size = int(handler.path.strip("/"))
    handler.send_response(200)
    handler.send_header("Content-Length", str(size))
    handler.end_headers()
    for number in range(0, size, len(BLOCK)):
        handler.wfile.write(block(number // len(BLOCK))[: size - number])


class Peak:
    """The most memory that processes have while a test runs, above what they had before."""

    def __init__(self, *pids):
        self._pids = pids
        self._before = [memory(pid) for pid in pids]
        self.growth = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._end.wait(0.1):
            self.look()

    def look(self):
        now = [memory(pid) for pid in self._pids]
        self.growth = max(
            self.growth, *(after - before for after, before in zip(now, self._before, strict=True))
        )

    def stop(self):
        self._end.set()
        self._thread.join()
        return self.growth


FLAT = 40 * 1024**2
"""Bytes a process may grow by while gigabytes pass: windows of 16 MiB at most, and some slack."""


def test_download_of_2_gb_in_flat_memory(world, upstream):
    agent = world.agent("http", upstream(source).port)
    world.get(agent.host, "/1000000")
    peak = Peak(world.workers[0], agent.program.process.pid)
    connection = world.http_connection(agent.host, 120)
    connection.request("GET", f"/{GIGABYTES}")
    response = connection.getresponse()
    for number in range(GIGABYTES // len(BLOCK)):
        assert response.read(len(BLOCK)) == block(number)
    assert response.read(1) == b""
    assert peak.stop() < FLAT


def test_upload_of_2_gb_in_flat_memory(world, upstream):
    agent = world.agent("http", upstream(reply_digest).port)
    world.get(agent.host, method="POST", body=b"x")
    peak = Peak(world.workers[0], agent.program.process.pid)
    connection = world.http_connection(agent.host, 120)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(GIGABYTES))
    connection.endheaders()
    digest = hashlib.sha256()
    for number in range(GIGABYTES // len(BLOCK)):
        piece = block(number)
        connection.send(piece)
        digest.update(piece)
    assert connection.getresponse().read().decode() == digest.hexdigest()
    assert peak.stop() < FLAT


@pytest.mark.alone
def test_slow_reader_does_not_slow_another(world, upstream):
    service = upstream(source)
    agent = world.agent("http", service.port)
    world.get(agent.host, "/1000")
    peak = Peak(world.workers[0], agent.program.process.pid)
    slow = world.connect(agent.host)
    slow.sendall(f"GET /{1024**3} HTTP/1.1\r\nHost: {agent.host}\r\n\r\n".encode())
    slow.recv(1000)  # and no more
    started = time.monotonic()
    for _ in range(200):
        assert len(world.get(agent.host, "/1000")[2]) == 1000
    small = time.monotonic() - started
    assert len(world.get(agent.host, "/50000000")[2]) == 50_000_000
    assert peak.stop() < FLAT
    slow.close()
    assert small < PATIENCE_FOR_200


PATIENCE_FOR_200 = 60
"""Seconds: not a measure of speed, only far from what waiting for the slow reader would be."""


def test_wait_for_is_honest():
    with pytest.raises(AssertionError):
        wait_for(lambda: False, patience=0.05)
