"""Real processes: a server, agents and upstreams, started and stopped by tests."""

import collections
import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PATIENCE = 60
"""Seconds after which something that should happen has not."""


def wait_for(condition, what="it", patience=PATIENCE):
    """Wait until C{condition()} is true; return what it returned."""
    deadline = time.monotonic() + patience
    while True:
        late = time.monotonic() > deadline  # asked first: a machine that stalled has one more look
        value = condition()
        if value:
            return value
        if late:
            raise AssertionError(f"{what} did not come within {patience} s")
        time.sleep(0.01)


# Ports are handed out in turn, so that no two callers of one run get the same one, and below those that the
# kernel gives to outgoing connections, so that a server that was stopped finds its port free again.
PORTS = range(10_000, 32_000)
_next_port = itertools.count(random.randrange(len(PORTS)))
# Bound and not listening: the kernel refuses the port to all who do not ask for its reuse, as servers do.
_held_ports = collections.deque(maxlen=400)


def free_port(count=1):
    """The first of C{count} TCP ports that nothing has now, and that no other caller gets."""
    while True:
        first = PORTS[next(_next_port) % len(PORTS)]
        for _ in range(count - 1):
            next(_next_port)
        held = []
        try:
            for port in range(first, first + count):
                with socket.socket(socket.AF_INET6) as probe:
                    probe.bind(("::1", port))
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
                held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            for holder in held:
                holder.close()
            continue
        _held_ports.extend(held)
        return first


def memory(pid):
    """Bytes of resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


class Program:
    """One process, its output collected by a thread."""

    def __init__(self, *arguments, env=None, cwd=None, stdin=None):
        self.lines = []
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=stdin or subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self):
        return "\n".join(self.lines)

    def line(self, pattern, after=0, patience=PATIENCE):
        """The first line from number C{after} on that matches; fails with the output if none comes."""

        def look():
            ended = self.ended()  # asked first: no line comes afterwards
            for line in self.lines[after:]:
                found = re.search(pattern, line)
                if found:
                    return found
            if ended:
                raise AssertionError(f"the program ended ({self.process.returncode}):\n{self.output}")
            return None

        try:
            return wait_for(look, repr(pattern), patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; the output:\n{self.output}") from None

    def ended(self):
        """Whether it ended, and all that it wrote is in C{lines}."""
        return self.process.poll() is not None and not self._reader.is_alive()

    def wait(self, patience=PATIENCE):
        """The exit code, once it ended."""
        code = self.process.wait(patience)
        self._reader.join(5)
        return code

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self):
        """End it gently, then less so."""
        self.kill(signal.SIGTERM)
        self.kill(signal.SIGCONT)  # a test may have stopped it
        for number in (signal.SIGTERM, signal.SIGKILL):  # the second signal says: now
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
                break
            self.kill(number)
        self.process.wait(10)
        self._reader.join(5)
        self.process.stdout.close()


def burrow(*arguments, env=None, stdin=None, files=None):
    """A burrow command, of the code under test; which may have so many C{files} open."""
    limit = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"] if files else []
    return Program(*limit, sys.executable, "-m", "burrow.cli.main", *arguments, env=env, stdin=stdin)


class Agent:
    """A running agent with C{--json}."""

    def __init__(self, world, *arguments, files=None, **env):
        self.program = burrow(*arguments, "--json", env={**world.env, **env}, files=files)

    def events(self, kind):
        found = []
        for line in list(self.program.lines):
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == kind:
                    found.append(event)
        return found

    def ready(self, count=1):
        """The ready events, once there are so many."""

        def look():
            ended = self.program.ended()  # asked first: no line comes afterwards
            events = self.events("ready")
            if len(events) >= count:
                return events
            if ended:
                raise AssertionError(f"the agent ended:\n{self.program.output}")
            return None

        return wait_for(look, f"the agent to be ready; it says:\n{self.program.output}\nwhich")

    @property
    def url(self):
        return self.ready()[0]["url"]

    @property
    def host(self):
        return self.url.split("/")[2].split(":")[0]


class World:
    """A state folder, a server on it, and whatever tests start beside."""

    def __init__(self, folder, *, address="127.0.0.1", ca_file=None, files=None, **options):
        self.folder = Path(folder)
        self.address = address
        self.ca_file = ca_file or self.folder / "state" / "ca.pem"
        self.https, self.http = free_port(), free_port()
        first = free_port(20)
        self.ports = f"{first}-{first + 19}"
        self.options = options
        self.files = files
        self.started = []
        self.server = None
        self.env = {
            "XDG_STATE_HOME": str(self.folder / "agent-state"),
            "XDG_CONFIG_HOME": str(self.folder / "agent-config"),
            "BURROW_CA_FILE": str(self.ca_file),
            "NO_PROXY": "*",
        }
        self.tls = options.get("tls", "local") != "off"
        if not self.tls:
            del self.env["BURROW_CA_FILE"]
        host = "localhost" if address == "127.0.0.1" else address
        if "domain" in options and address == "127.0.0.1":
            host = options["domain"]
        self.env["BURROW_SERVER"] = (
            f"https://{host}:{self.https}" if self.tls else f"http://{host}:{self.http}"
        )

    def start_server(self):
        arguments = ["--https", f"{self.address}:{self.https}", "--http", f"{self.address}:{self.http}"]
        arguments += ["--state", self.folder / "state", "--tcp-ports", self.ports]
        for name, value in self.options.items():
            for item in value if isinstance(value, list) else [value]:
                flag = "--" + name.replace("_", "-")
                arguments += [flag] if item is True else [flag, item]
        self.server = burrow("server", *arguments, files=self.files)
        self.started.append(self.server)
        self.server.line("Burrow serves")
        return self.server

    @property
    def workers(self):
        """The ids of the server's processes that serve."""
        pid = self.server.process.pid
        return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def token(self, name="test", role="agent"):
        program = burrow("token", "create", name, "--role", role, "--state", self.folder / "state")
        assert program.wait() == 0, program.output
        return program.lines[-1]

    def agent(self, *arguments, files=None, **env):
        agent = Agent(self, *arguments, files=files, **env)
        self.started.append(agent.program)
        return agent

    def program(self, *arguments, **options):
        program = Program(*arguments, **options)
        self.started.append(program)
        return program

    def revive(self):
        """Have the server run, whatever a test that failed did to it."""
        if self.server is None or self.server.process.poll() is not None:
            self.start_server()
        self.server.kill(signal.SIGCONT)
        self._go_on()

    def _go_on(self):
        with contextlib.suppress(OSError):
            for pid in self.workers:
                os.kill(pid, signal.SIGCONT)  # a test may have stopped it

    def close(self):
        if self.server is not None:
            self._go_on()
        for program in self.started:
            program.kill(signal.SIGTERM)
        for program in self.started:
            program.stop()

    # -- a visitor ----------------------------------------------------------------------------------

    def connect(self, host, timeout=PATIENCE, sni=None, source="", receive_buffer=0, context=None):
        """
        A visitor's connection to a host of the server's. C{sni}: another name to ask for in the handshake;
        then the certificate need not have it. C{source}: the address that it comes from. C{receive_buffer}:
        bytes, if not the kernel's choice; of a connection that exists, the kernel would drop what comes
        before the peer has heard of the smaller buffer.
        """
        where = (self.address, self.https if self.tls else self.http)
        plain = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(timeout)
        if source:
            plain.bind((source, 0))
        plain.connect(where)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return plain
        if context is None:
            context = ssl.create_default_context(cafile=str(self.ca_file))
            context.check_hostname = sni is None
        return context.wrap_socket(plain, server_hostname=sni or host)

    def http_connection(self, host, timeout=PATIENCE, sni=None):
        """The same, as an http.client connection."""
        connection = HTTPConnection(host, timeout=timeout)
        connection.sock = self.connect(host, timeout, sni)
        return connection

    def get(self, host, path="/", method="GET", body=None, timeout=PATIENCE, sni=None, **headers):
        """One request on a connection of its own: status, headers, body."""
        connection = self.http_connection(host, timeout, sni)
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        result = response.status, response.headers, response.read()
        connection.close()
        return result

    def raw(self, host, data, method="GET"):
        """Send bytes, read one response: status, headers, body."""
        with self.connect(host) as visitor:
            visitor.sendall(data)
            return read_response(visitor, method)


def read_response(visitor, method="GET"):
    """Read one response from a socket: status, headers, body."""
    response = HTTPResponse(visitor, method=method)
    response.begin()
    return response.status, response.headers, response.read()


class Upstream:
    """An HTTP service whose answers are a function of the request."""

    def __init__(self, answer, host="127.0.0.1", port=0):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one(handler):
                answer(handler)

            def log_message(handler, *arguments):
                pass

        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            setattr(Handler, f"do_{method}", Handler.handle_one)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(server, request, client_address):
                pass  # a visitor that leaves in the middle is no error of the test's

        self.server = Server((host, port), Handler)
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def reply(handler, body, status=200, **headers):
    """Answer one request with a body of a known length."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def send_bytes(handler, size, block):
    """Answer with C{size} bytes: C{block} over and over."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(size))
    handler.end_headers()
    while size:
        piece = block[: min(size, len(block))]
        handler.wfile.write(piece)
        size -= len(piece)


def reply_digest(handler):
    """Read the body; answer with its SHA-256 in hex."""
    left, digest = int(handler.headers["Content-Length"]), hashlib.sha256()
    while left:
        piece = handler.rfile.read(min(left, 1 << 20))
        digest.update(piece)
        left -= len(piece)
    reply(handler, digest.hexdigest().encode())


class TcpUpstream:
    """A TCP service: one thread a connection, running C{serve(socket)}. C{listener}: its socket."""

    def __init__(self, serve, listener=None):
        self._serve = serve
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=256)
        if listener is None:
            self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        with connection, contextlib.suppress(OSError):
            self._serve(connection)

    def close(self):
        self.listener.close()
