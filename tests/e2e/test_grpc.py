"""gRPC through a tunnel, by grpc's own client and server: see docs/http2.md."""

import queue
import re
import socket
import ssl
import threading
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

from tests.e2e.harness import PATIENCE, TcpUpstream, World, reply
from tests.files import make_certificate

SERVICE = "burrow.Test"


def as_it_is(message):
    """Messages are bytes here: no code is generated for them."""
    return message


class Service(grpc.GenericRpcHandler):
    """
    A service of all four kinds.

    @ivar cancelled: how many calls were given up by their clients. @ivar deadlines: seconds that calls had.
    """

    def __init__(self):
        self.cancelled = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.deadlines = []

    def service(self, details):
        name = details.method.rpartition("/")[2]
        method = getattr(self, name, None)
        if method is None:
            return None
        kind = {
            "Join": grpc.stream_unary_rpc_method_handler,
            "Count": grpc.unary_stream_rpc_method_handler,
            "Talk": grpc.stream_stream_rpc_method_handler,
            "Wait": grpc.unary_stream_rpc_method_handler,
        }.get(name, grpc.unary_unary_rpc_method_handler)
        return kind(method, as_it_is, as_it_is)

    def Echo(self, message, context):
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", metadata.get("x-sent", "")),))
        context.set_trailing_metadata((("x-last", "1"), ("x-raw-bin", b"\0\xff\r\n")))
        return message

    def Fail(self, message, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "näh: " + message.decode())

    def Join(self, messages, context):
        return b"".join(messages)

    def Count(self, message, context):
        for number in range(int(message)):
            yield b"%d" % number

    def Talk(self, messages, context):
        for message in messages:
            yield b"heard " + message

    def Wait(self, message, context):
        self.deadlines.append(context.time_remaining())
        gone = threading.Event()
        context.add_callback(gone.set)
        yield b"begun"
        self.began.release()
        gone.wait(PATIENCE)
        self.cancelled.release()


@pytest.fixture(scope="module")
def service():
    return Service()


OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def served(service, address, credentials=None):
    """A real server. @return: it, and its port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(20),
        options=[*OPTIONS, ("grpc.http2.min_ping_interval_without_data_ms", 100), ("grpc.so_reuseport", 0)],
    )
    server.add_generic_rpc_handlers((service,))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    return server, port


@pytest.fixture(scope="module")
def agent(world, service):
    server, port = served(service, "127.0.0.1:0")
    yield world.agent("http", f"h2c://127.0.0.1:{port}", "--name", "grpc")
    server.stop(0)


def channel_to(world, agent, *options):
    """A real client's channel through the tunnel."""
    credentials = grpc.ssl_channel_credentials(world.ca_file.read_bytes())
    return grpc.secure_channel(
        f"ipv4:127.0.0.1:{world.https}",
        credentials,
        options=[
            *OPTIONS,
            ("grpc.ssl_target_name_override", agent.host),
            ("grpc.default_authority", agent.host),
            ("grpc.enable_http_proxy", 0),
            *options,
        ],
    )


@pytest.fixture(scope="module")
def channel(world, agent):
    with channel_to(world, agent) as channel:
        yield channel


def method(channel, name):
    kind = {
        "Join": channel.stream_unary,
        "Count": channel.unary_stream,
        "Wait": channel.unary_stream,
        "Talk": channel.stream_stream,
    }.get(name, channel.unary_unary)
    return kind(f"/{SERVICE}/{name}", as_it_is, as_it_is)


def test_unary_with_metadata_both_ways(channel):
    answer, call = method(channel, "Echo").with_call(
        b"hello", metadata=(("x-sent", "there"),), timeout=PATIENCE
    )
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-first"] == "there"
    trailing = dict(call.trailing_metadata())
    assert (trailing["x-last"], trailing["x-raw-bin"]) == ("1", b"\0\xff\r\n")
    assert call.code() is grpc.StatusCode.OK


def test_empty_message(channel):
    assert method(channel, "Echo")(b"", timeout=PATIENCE) == b""


def test_large_messages(channel):
    message = bytes(range(256)) * 65536  # 16 MiB
    assert method(channel, "Echo")(message, timeout=PATIENCE) == message


def test_client_streams(channel):
    pieces = [b"x" * 1000] * 500
    assert method(channel, "Join")(iter(pieces), timeout=PATIENCE) == b"".join(pieces)


def test_server_streams(channel):
    assert list(method(channel, "Count")(b"500", timeout=PATIENCE)) == [
        b"%d" % number for number in range(500)
    ]


def test_both_stream_in_turns(channel):
    """Each message is sent once the answer to the one before has come: nothing may wait for an end."""
    sending = queue.Queue()
    answers = method(channel, "Talk")(iter(sending.get, None), timeout=PATIENCE)
    for number in range(20):
        sending.put(b"%d" % number)
        assert next(answers) == b"heard %d" % number
    sending.put(None)
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK


def test_status_without_a_message(channel):
    """The server's answer is trailers alone, or a head and trailers."""
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "Fail")(b"no", timeout=PATIENCE)
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "näh: no")
    assert dict(error.trailing_metadata())["x-why"] == "because"


def test_method_that_is_none(channel):
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "Nothing")(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_deadline_is_told_the_server_and_ends_the_call_there(channel, service):
    answers = method(channel, "Wait")(b"", timeout=2)
    assert next(answers) == b"begun"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert service.cancelled.acquire(timeout=PATIENCE)
    assert 0 < service.deadlines[-1] < 3


def test_cancelled_call_is_cancelled_at_the_server(channel, service):
    answers = method(channel, "Wait")(b"")
    assert next(answers) == b"begun"
    answers.cancel()
    assert service.cancelled.acquire(timeout=PATIENCE)


def test_health_service(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()


def test_many_calls_at_once_on_one_connection(channel):
    calls = [method(channel, "Echo").future(b"%d" % number, timeout=PATIENCE) for number in range(150)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(150)]


def test_keep_alive_pings_keep_a_quiet_call(world, agent, service):
    options = (
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 20000),
        ("grpc.http2.max_pings_without_data", 0),
    )
    with channel_to(world, agent, *options) as channel:
        answers = method(channel, "Wait")(b"", timeout=5)
        assert next(answers) == b"begun"
        with pytest.raises(grpc.RpcError) as caught:  # the deadline ends it, and not the pings
            next(answers)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_server_that_stops_answers_what_is_under_way(world):
    """A stopping server says GOAWAY, and goes on with its calls."""
    service = Service()
    server, port = served(service, "127.0.0.1:0")
    agent = world.agent("http", f"h2c://127.0.0.1:{port}", "--name", "leaving")
    with channel_to(world, agent) as channel:
        sending = queue.Queue()
        answers = method(channel, "Talk")(iter(sending.get, None), timeout=PATIENCE)
        sending.put(b"1")
        assert next(answers) == b"heard 1"
        stopped = server.stop(PATIENCE)
        sending.put(b"2")
        assert next(answers) == b"heard 2"
        sending.put(None)
        assert list(answers) == []
        assert stopped.wait(PATIENCE)
        with pytest.raises(grpc.RpcError) as caught:
            method(channel, "Echo")(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


class GoingAway:
    """
    A service whose every connection answers one call, and goes away at the next, which it has not read (RFC
    9113 section 6.8). @ivar answered: the messages that it has answered.
    """

    def __init__(self):
        self.answered, self.crossed = [], 0

    def __call__(self, connection):
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        connection.sendall(h2.data_to_send())
        body = b""
        while data := connection.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, DataReceived) and event.stream_id == 1:
                    body += event.data
                elif isinstance(event, StreamEnded) and event.stream_id == 1:
                    self.answered.append(body[5:])
                    h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
                    h2.send_data(1, body)
                    h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
                elif isinstance(event, StreamEnded):
                    self.crossed += 1
                    h2.close_connection(last_stream_id=1)
            connection.sendall(h2.data_to_send())


@pytest.mark.parametrize("scheme", ["h2c", "h2"])
def test_calls_that_cross_a_goaway_are_made_once_on_another_connection(world, tmp_path, scheme):
    going, listener = GoingAway(), socket.create_server(("127.0.0.1", 0))
    if scheme == "h2":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_certificate(tmp_path, "localhost"))
        context.set_alpn_protocols(["h2"])
        listener = context.wrap_socket(listener, server_side=True)
    service, port = TcpUpstream(going, listener), listener.getsockname()[1]
    agent = world.agent("http", f"{scheme}://127.0.0.1:{port}", "--name", f"crossing-{scheme}")
    with channel_to(world, agent) as channel:
        for number in range(5):
            message = b"%d" % number * 1000
            assert method(channel, "Echo")(message, timeout=PATIENCE) == message
        assert going.answered == [b"%d" % number * 1000 for number in range(5)]
        assert going.crossed == 4
        listener.shutdown(socket.SHUT_RDWR)  # a thread waits in it
        service.close()
        with pytest.raises(grpc.RpcError) as caught:  # there is no other connection
            method(channel, "Echo")(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (len(going.answered), going.crossed) == (5, 5)
    assert "Traceback" not in agent.program.output
    assert "Unhandled" not in agent.program.output


def test_upstream_on_a_unix_socket(world, service, tmp_path):
    server, _ = served(service, f"unix:{tmp_path}/grpc")
    agent = world.agent("http", f"h2c+unix:{tmp_path}/grpc", "--name", "socket")
    with channel_to(world, agent) as channel:
        assert method(channel, "Echo")(b"hello", timeout=PATIENCE) == b"hello"
    server.stop(0)


def test_upstream_inside_tls(world, service, tmp_path):
    """On the loopback any certificate is believed, and others by --upstream-ca."""
    chain, key = make_certificate(tmp_path, "localhost")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    server, port = served(service, "127.0.0.1:0", credentials)
    for name, options in (("inside", ()), ("checked", ("--upstream-ca", chain))):
        agent = world.agent("http", f"h2://localhost:{port}", "--name", name, *options)
        with channel_to(world, agent) as channel:
            assert method(channel, "Echo")(b"hello", timeout=PATIENCE) == b"hello"
    server.stop(0)


def answers_in_http_1(connection):
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_upstream_that_speaks_no_http_2(world, upstream):
    """The visitor, a gRPC client among them, and the agent's screen are told in one sentence."""
    service = TcpUpstream(answers_in_http_1)
    agent = world.agent("http", f"h2c://127.0.0.1:{service.port}", "--name", "older")
    said = f"127.0.0.1 port {service.port} speaks HTTP/1.1, not HTTP/2: if it speaks HTTP/1.1, write http://"
    status, _, page = world.get(agent.host)
    assert status == 502
    assert said in page.decode()
    with channel_to(world, agent) as channel, pytest.raises(grpc.RpcError) as caught:
        method(channel, "Echo")(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    agent.program.line(re.escape(said))
    service.close()
    other = world.agent("http", f"h2c://127.0.0.1:{upstream(lambda handler: reply(handler, b'')).port}")
    assert b"if it speaks HTTP/1.1, write http://" in world.get(other.host)[2]


def test_tls_upstream_that_speaks_no_http_2(world, tmp_path):
    chain, key = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    listener = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    service = TcpUpstream(lambda connection: connection.recv(1), listener)
    agent = world.agent("http", f"h2://127.0.0.1:{listener.getsockname()[1]}", "--name", "tlsonly")
    status, _, page = world.get(agent.host)
    assert status == 502
    assert "offers no HTTP/2 in TLS (ALPN): if it speaks HTTP/1.1, write https://." in page.decode()
    service.close()


def test_server_without_tls_takes_calls_on_its_plain_port(service, tmp_path):
    """Who knows beforehand that HTTP/2 is spoken there begins with it: proxies in front, and this client."""
    world = World(tmp_path, http2=True, tls="off")
    server, port = served(service, "127.0.0.1:0")
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        agent = world.agent("http", f"h2c://127.0.0.1:{port}", "--name", "plain")
        options = [("grpc.default_authority", agent.host), ("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"ipv4:127.0.0.1:{world.http}", options=options) as channel:
            assert method(channel, "Echo")(b"hello", timeout=PATIENCE) == b"hello"
            assert list(method(channel, "Count")(b"3", timeout=PATIENCE)) == [b"0", b"1", b"2"]
        assert world.get(agent.host)[0] != 200  # HTTP/1.1 goes on there: the upstream answers 415
    finally:
        world.close()
        server.stop(0)


def test_server_that_speaks_no_http_2_with_visitors_says_so(tmp_path):
    world = World(tmp_path, no_http2=True)
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        agent = world.agent("http", "h2c://127.0.0.1:1", "--name", "told")
        agent.program.line("visitors of told come by HTTP/1.1 alone: .*gRPC does not until .*--http2")
    finally:
        world.close()
