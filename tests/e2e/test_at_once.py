"""
One agent, one WebSocket, and everything through it at once, by the programs that people use: HTTP, WebSocket,
server-sent events, SSH, PostgreSQL, MariaDB, Redis, DNS over UDP, TLS that ends behind the tunnel, MQTT.
"""

import contextlib
import hashlib
import os
import random
import socket
import ssl
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
import websocket

from tests.e2e.harness import Program, World, memory, wait_for
from tests.e2e.relay import Relay, cutting
from tests.e2e.services import start_dnsmasq, start_mariadb, start_mosquitto, start_web
from tests.e2e.sshd import start_sshd
from tests.e2e.test_apps import postgres  # noqa: F401 - a fixture
from tests.e2e.test_udp import UdpUpstream
from tests.files import make_certificate
from tests.programs import program
from tests.redis import RedisServer

pytestmark = pytest.mark.slow

MEBIBYTE = 1024**2
RECORDS = {f"{number}.test": random.Random(number).randbytes(100).hex() for number in range(20)}


def run(*command, data=b""):
    """Run a program to its end; what it printed, in bytes."""
    ran = subprocess.run([str(each) for each in command], input=data, capture_output=True, timeout=200)
    assert ran.returncode == 0, (command, ran.stderr[-2000:])
    return ran.stdout


class Typed(Program):
    """A program that answers each line with a line."""

    def __init__(self, *command):
        super().__init__(*command, stdin=subprocess.PIPE)

    def type(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ask(self, text):
        before = len(self.lines)
        self.type(text)
        wait_for(lambda: len(self.lines) > before or self.ended(), f"the answer to {text}")
        assert len(self.lines) > before, self.output
        return self.lines[before]


class Everything:
    """All services, an agent whose one process has a tunnel to each, and their visitors' programs."""

    def __init__(self, world, folder, postgres_port):
        self.world = world
        self.folder = folder
        self.relay = Relay(world.https)
        (folder / "ssh").mkdir()
        sshd, self._ssh_options = start_sshd(world, folder / "ssh")
        self.certificate = make_certificate(folder, "tls.localhost")
        self._redis = RedisServer()
        # As many datagrams as it can, to a visitor who asked for them and reads none.
        self._flood = UdpUpstream(lambda datagram: [datagram * 10] * 100)
        services = {
            "web": ("http", start_web(world)),
            "ssh": ("tcp", sshd),
            "postgres": ("tcp", postgres_port),
            "mariadb": ("tcp", start_mariadb(world, folder)),
            "redis": ("tcp", self._redis.port),
            "dns": ("udp", start_dnsmasq(world, RECORDS)),
            "flood": ("udp", self._flood.port),
            "tls": ("tls", start_web(world, self.certificate)),
            "mqtt": ("tcp", start_mosquitto(world, folder)),
        }
        self.upstreams = {name: port for name, (_, port) in services.items()}
        file = folder / "agent.toml"
        file.write_text(
            "".join(
                f'[tunnels.{name}]\nkind = "{kind}"\nupstream = {port}\n'
                for name, (kind, port) in services.items()
            )
        )
        self.agent = world.agent(
            "start", "--config", file, BURROW_SERVER=f"https://localhost:{self.relay.port}"
        )
        ready = self.agent.ready(len(services))
        self.ports = {event["name"]: str(urlsplit(event["url"]).port) for event in ready}

    def close(self):
        self._redis.stop()
        self._flood.close()
        self.relay.close()

    # -- the programs -------------------------------------------------------------------------------

    def http(self, name):
        """A connection to the page; or by TLS that is the service's own."""
        if name == "web":
            return self.world.http_connection("web.localhost")
        connection = HTTPConnection("tls.localhost", timeout=60)
        context = ssl.create_default_context(cafile=str(self.certificate[0]))
        plain = socket.create_connection(("127.0.0.1", self.world.https), 60)
        connection.sock = context.wrap_socket(plain, server_hostname="tls.localhost")
        return connection

    def websocket(self, path):
        return websocket.create_connection(
            f"wss://web.localhost:{self.world.https}{path}", socket=self.world.connect("web.localhost")
        )

    def ssh(self, *command):
        return [program("ssh"), "-p", self.ports["ssh"], *self._ssh_options, "127.0.0.1", *command]

    def scp(self, *files):
        return [program("scp"), "-P", self.ports["ssh"], *self._ssh_options, *files]

    def psql(self, *options):
        where = ("-h", "127.0.0.1", "-p", self.ports["postgres"], "-U", "postgres")
        return [program("psql"), *where, "-v", "ON_ERROR_STOP=1", "-qAt", *options]

    def pgbench(self, *options):
        where = ("-h", "127.0.0.1", "-p", self.ports["postgres"], "-U", "postgres")
        return [program("pgbench"), *where, *options, "postgres"]

    def mariadb(self, *options):
        where = ("--no-defaults", "--host=127.0.0.1", "--port=" + self.ports["mariadb"], "--user=root")
        return [
            program("mariadb"),
            *where,
            "--batch",
            "--skip-column-names",
            "--unbuffered",
            *options,
            "test",
        ]

    def redis(self, *command):
        return [program("redis-cli"), "-p", self.ports["redis"], *command]

    def dig(self, name):
        where = ("@127.0.0.1", "-p", self.ports["dns"], "+tries=20", "+timeout=1")
        return [program("dig"), *where, "+short", "TXT", name]

    def mqtt(self, which, topic, *options):
        where = ("-h", "127.0.0.1", "-p", self.ports["mqtt"], "-q", "1", "-t", topic)
        return [program(f"mosquitto_{which}"), *where, *options]


@pytest.fixture(scope="module")
def everything(tmp_path_factory, postgres):  # noqa: F811
    folder = tmp_path_factory.mktemp("everything")
    world = World(folder)
    world.start_server()
    world.env["BURROW_TOKEN"] = world.token()
    services = Everything(world, folder, postgres)
    yield services
    services.close()
    for one in world.started:
        one.kill()  # they serve visitors without end, and would wait for them
    world.close()


# -- a visitor of each kind that asks small questions: each returns what asks the question of a number -


def echo_by(connection):
    def ask(number):
        data = os.urandom(1000 + number)
        connection.request("POST", "/echo", data)
        assert connection.getresponse().read() == data

    return ask


def ask_http(everything, closing):
    return echo_by(closing.enter_context(contextlib.closing(everything.http("web"))))


def ask_tls(everything, closing):
    return echo_by(closing.enter_context(contextlib.closing(everything.http("tls"))))


def ask_websocket(everything, closing):
    visitor = closing.enter_context(contextlib.closing(everything.websocket("/socket")))

    def ask(number):
        data = os.urandom(1000 + number)
        visitor.send_binary(data)
        assert visitor.recv() == data

    return ask


def ask_events(everything, closing):
    """Each tick is made once the one before was seen, and comes alone."""
    visitor = closing.enter_context(contextlib.closing(everything.http("web")))
    visitor.request("GET", "/events?count=1000000")
    answer = visitor.getresponse()
    noting = closing.enter_context(contextlib.closing(everything.http("web")))

    def ask(number):
        assert answer.read1(1000) == b"data: %d\n\n" % number
        noting.request("GET", "/seen")
        assert noting.getresponse().read() == b"noted"

    return ask


def typed(closing, *command):
    typed = Typed(*command)
    closing.callback(typed.stop)
    return typed


def ask_ssh(everything, closing):
    shell = typed(closing, *everything.ssh("while read line; do echo got $line; done"))

    def ask(number):
        assert shell.ask(str(number)) == f"got {number}"

    return ask


def ask_postgres(everything, closing):
    shell = typed(closing, *everything.psql())

    def ask(number):
        assert shell.ask(f"SELECT {number} * 2, repeat('x', 200);") == f"{number * 2}|{'x' * 200}"

    return ask


def ask_mariadb(everything, closing):
    shell = typed(closing, *everything.mariadb())

    def ask(number):
        assert shell.ask(f"SELECT {number} * 2, REPEAT('x', 200);") == f"{number * 2}\t{'x' * 200}"

    return ask


def ask_redis(everything, closing):
    shell = typed(closing, *everything.redis())

    def ask(number):
        assert shell.ask(f"SET asked {number}{'x' * 200}") == "OK"
        assert shell.ask("GET asked") == f"{number}{'x' * 200}"

    return ask


def ask_dns(everything, closing):
    def ask(number):
        name = f"{number % len(RECORDS)}.test"
        assert run(*everything.dig(name)).decode() == f'"{RECORDS[name]}"\n'

    return ask


def ask_mqtt(everything, closing):
    topic = os.urandom(8).hex()
    # A subscription that the broker keeps, so that nothing is published before it is there.
    session = ("-i", topic, "--disable-clean-session")
    run(*everything.mqtt("sub", topic, *session, "-E"))
    reader = typed(closing, *everything.mqtt("sub", topic, *session))
    writer = typed(closing, *everything.mqtt("pub", topic, "-l"))

    def ask(number):
        writer.type(f"{number} {'x' * 200}")
        wait_for(lambda: len(reader.lines) > number or reader.ended(), "the message")
        assert reader.lines[number:] == [f"{number} {'x' * 200}"]

    return ask


ASK = {
    "http": ask_http,
    "websocket": ask_websocket,
    "events": ask_events,
    "ssh": ask_ssh,
    "postgres": ask_postgres,
    "mariadb": ask_mariadb,
    "redis": ask_redis,
    "dns": ask_dns,
    "tls": ask_tls,
    "mqtt": ask_mqtt,
}


# -- what each kind carries at once: much, checked to the last byte ------------------------------------


def much_http(everything):
    visitor = everything.http("web")
    data = os.urandom(5 * MEBIBYTE)
    for _ in range(2):
        visitor.request("POST", "/echo", data)
        assert visitor.getresponse().read() == data


def much_tls(everything):
    """The certificate is the service's own, as openssl and curl see it."""
    site = f"tls.localhost:{everything.world.https}"
    local = f"127.0.0.1:{everything.world.https}"
    shown = run(program("openssl"), "s_client", "-connect", local, "-servername", "tls.localhost")
    assert ssl.PEM_cert_to_DER_cert(everything.certificate[0].read_text()) == der_of(shown.decode())
    data = os.urandom(5 * MEBIBYTE)
    got = run(
        *(program("curl"), "-sS", "--cacert", everything.certificate[0], "--resolve", f"{site}:127.0.0.1"),
        *("--data-binary", "@-", f"https://{site}/echo"),
        data=data,
    )
    assert got == data


def der_of(text):
    begins = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[begins : text.index("-----END CERTIFICATE-----") + 25])


def much_websocket(everything):
    with contextlib.closing(everything.websocket("/socket")) as visitor:
        for size in (0, 125, 126, 65_535, 65_536, 3 * MEBIBYTE):
            data = os.urandom(size)
            visitor.send_binary(data)
            assert visitor.recv() == data


def much_ssh(everything):
    """scp of 100 MB there, a part of it back."""
    sent, back = everything.folder / "sent", everything.folder / "back"
    digest = hashlib.sha256()
    with sent.open("wb") as file:
        for _ in range(100):
            digest.update(piece := os.urandom(1_000_000))
            file.write(piece)
    arrived = everything.folder / "arrived"
    run(*everything.scp(sent, f"127.0.0.1:{arrived}"))
    with arrived.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
    small = everything.folder / "small"
    small.write_bytes(os.urandom(5 * MEBIBYTE))
    run(*everything.scp(f"127.0.0.1:{small}", back))
    assert back.read_bytes() == small.read_bytes()


def much_postgres(everything):
    rows = "".join(f"{number}\t{os.urandom(50).hex()}\n" for number in range(20_000))
    script = (
        f"CREATE TABLE rows (n int, text text);\nCOPY rows FROM STDIN;\n{rows}\\.\nCOPY rows TO STDOUT;\n"
    )
    assert run(*everything.psql(), data=script.encode()).decode() == rows
    run(*everything.pgbench("-i", "-q"))
    said = run(*everything.pgbench("-c", "4", "-j", "2", "-t", "50")).decode()
    assert "200/200" in said
    assert run(*everything.psql("-c", "SELECT count(*) FROM pgbench_history")) == b"200\n"


def much_mariadb(everything):
    rows = {number: os.urandom(2000).hex() for number in range(1000)}
    script = "CREATE TABLE numbers (n INT PRIMARY KEY, text LONGTEXT);\n"
    script += "".join(f"INSERT INTO numbers VALUES ({number}, '{text}');\n" for number, text in rows.items())
    large = os.urandom(2 * MEBIBYTE).hex()
    script += f"SELECT n, text FROM numbers ORDER BY n; SELECT '{large}';\n"
    got = run(*everything.mariadb("--max-allowed-packet=16M"), data=script.encode()).decode()
    assert got == "".join(f"{number}\t{text}\n" for number, text in rows.items()) + large + "\n"


def much_redis(everything):
    data = os.urandom(5 * MEBIBYTE)
    assert run(*everything.redis("-x", "SET", "large"), data=data) == b"OK\n"
    assert run(*everything.redis("GET", "large")) == data + b"\n"
    benchmark = [program("redis-benchmark"), "-p", everything.ports["redis"], "-n", "5000", "-c", "20", "-q"]
    said = run(*benchmark, "-d", "1000", "-t", "set,get").decode()
    assert "SET:" in said
    assert "GET:" in said
    run(*benchmark, "INCR", "counted")
    assert run(*everything.redis("GET", "counted")) == b"5000\n"


def much_mqtt(everything):
    topic = "much"
    payload = everything.folder / "payload"
    payload.write_bytes(os.urandom(3 * MEBIBYTE))
    run(*everything.mqtt("pub", topic, "--retain", "-f", payload))
    assert run(*everything.mqtt("sub", topic, "-C", "1", "-N")) == payload.read_bytes()


MUCH = (much_http, much_tls, much_websocket, much_ssh, much_postgres, much_mariadb, much_redis, much_mqtt)


def talk(everything, kind, times, begin=None, done=None):
    """Ask so many questions; with C{begin}, from when all are there, and until it is C{done}."""
    with contextlib.ExitStack() as closing:
        ask = ASK[kind](everything, closing)
        if begin:
            begin.wait(60)
        count = 0
        while count < times or (done and not done.is_set()):
            ask(count)
            count += 1


def test_everything_at_once_with_10_cuts(everything):
    """While 100 MB are copied by scp, the agent's one connection is reset ten times, and nobody notices."""
    assert everything.relay.connections == 1
    done = threading.Event()
    moved = everything.relay.bytes
    thread, cuts = cutting(everything.relay, lambda: everything.relay.bytes - moved, 100_000_000, 10)
    begin = threading.Barrier(len(MUCH) + len(ASK))

    def carry(much):
        begin.wait(60)
        much(everything)

    with ThreadPoolExecutor(len(MUCH) + len(ASK)) as pool:
        talking = [pool.submit(talk, everything, kind, 30, begin, done) for kind in ASK]
        try:
            for future in [pool.submit(carry, much) for much in MUCH]:
                future.result()
            thread.join(60)
        finally:
            done.set()
        for future in talking:
            future.result()
    assert len(cuts) == 10
    assert everything.relay.connections > 1
    assert "Traceback" not in everything.world.server.output
    assert "Traceback" not in everything.agent.program.output


# -- visitors who do not read what comes without end ---------------------------------------------------


def unread(closing, *command):
    """A program that prints without end what comes, to a pipe that nobody reads. @return: reads a piece."""
    command = [str(each) for each in command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def end():
        process.kill()
        process.wait()
        process.stdout.close()

    closing.callback(end)
    return lambda: process.stdout.read(MEBIBYTE)


def stall_http(everything, closing, media_type="application/octet-stream"):
    visitor = closing.enter_context(contextlib.closing(everything.http("web")))
    visitor.request("GET", "/endless?type=" + media_type)
    answer = visitor.getresponse()
    return lambda: answer.read(MEBIBYTE)


def stall_events(everything, closing):
    return stall_http(everything, closing, "text/event-stream")


def stall_tls(everything, closing):
    visitor = closing.enter_context(contextlib.closing(everything.http("tls")))
    visitor.request("GET", "/endless?type=text/plain")
    answer = visitor.getresponse()
    return lambda: answer.read(MEBIBYTE)


def stall_websocket(everything, closing):
    visitor = closing.enter_context(contextlib.closing(everything.websocket("/endless-socket")))
    return lambda: b"".join(visitor.recv() for _ in range(16))


def stall_ssh(everything, closing):
    return unread(closing, *everything.ssh("cat /dev/zero"))


def stall_postgres(everything, closing):
    # A set in FROM would be worked out first, as a whole.
    query = "COPY (SELECT repeat('x', 1000), generate_series(1, 1000000000)) TO STDOUT"
    return unread(closing, *everything.psql("-c", query))


def stall_mariadb(everything, closing):
    query = "SELECT REPEAT('x', 1000) FROM seq_1_to_1000000000"
    return unread(closing, *everything.mariadb("--quick", "-e", query))


def stall_redis(everything, closing):
    """More answers than all buffers of tunnels hold: Redis itself keeps them."""
    run(*everything.redis("-x", "SET", "stalled"), data=bytes(MEBIBYTE))
    port = int(everything.ports["redis"])
    visitor = closing.enter_context(socket.create_connection(("127.0.0.1", port), 60))
    visitor.sendall(b"GET stalled\r\n" * 100)
    answers = closing.enter_context(visitor.makefile("rb"))
    return lambda: answers.read(MEBIBYTE)


def stall_mqtt(everything, closing):
    """A subscriber; who publishes is beside the broker."""
    reader = unread(closing, *everything.mqtt("sub", "stalled", "-N"))
    local = ("-h", "127.0.0.1", "-p", str(everything.upstreams["mqtt"]), "-t", "stalled")
    payload = everything.folder / "stalled"
    payload.write_bytes(bytes(65536))
    run(program("mosquitto_pub"), *local, "--retain", "-f", payload)
    writer = [program("mosquitto_pub"), *local, "-f", payload, "--repeat", "100000", "--repeat-delay", "0.01"]
    unread(closing, *writer)
    return reader


STALL = {
    "http": stall_http,
    "websocket": stall_websocket,
    "events": stall_events,
    "ssh": stall_ssh,
    "postgres": stall_postgres,
    "mariadb": stall_mariadb,
    "redis": stall_redis,
    "tls": stall_tls,
    "mqtt": stall_mqtt,
}

MOST = 16 * MEBIBYTE
"""
Bytes that one stalled stream may take from the agent on, on the average: the kernel's buffers at the server
and at the visitor may have 10 of them.
"""


@contextlib.contextmanager
def flood(everything):
    """A visitor by UDP who asks for more and more datagrams, and reads none."""
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
        visitor.connect(("127.0.0.1", int(everything.ports["flood"])))

        def ask():
            while not stop.wait(0.05):
                with contextlib.suppress(OSError):
                    visitor.send(bytes(100))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield visitor
        finally:
            stop.set()
            thread.join()


def test_visitor_who_does_not_read_stops_nobody(everything):
    """One of each kind stalls, whose upstream sends without end: all others go on, and nothing grows."""
    relay = everything.relay
    processes = [everything.agent.program.process.pid, *everything.world.workers]
    moved, resident = relay.bytes, [memory(process) for process in processes]
    with contextlib.ExitStack() as closing:
        pieces = {kind: stall(everything, closing) for kind, stall in STALL.items()}

        def silent():
            before = relay.bytes
            threading.Event().wait(1)
            return relay.bytes - before < 20_000  # pings

        wait_for(silent, "an end of what the stalled streams take")
        assert relay.bytes - moved < len(STALL) * MOST
        flooded = closing.enter_context(flood(everything))
        with ThreadPoolExecutor(len(ASK)) as pool:
            for future in [pool.submit(talk, everything, kind, 30) for kind in ASK]:
                future.result()
        assert len(flooded.recv(2000)) == 1000
        for process, before in zip(processes, resident, strict=True):
            assert memory(process) - before < 64 * MEBIBYTE
        # They are not lost, either: who reads again gets what comes next.
        moved = relay.bytes
        for kind, read in pieces.items():
            assert sum(len(read()) for _ in range(16)) >= 16 * MEBIBYTE, kind
    assert relay.bytes > moved
