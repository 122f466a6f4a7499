"""The services behind the tunnels: web server, sink, echo, databases. Each starts when it is asked for."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.harness import Program, free_port
from tests.e2e.test_nginx import start_nginx
from tests.programs import program

SMALL = 1024
"""Bytes of the answer to a small request."""

BIG = 256 << 20
"""Bytes of the file that is downloaded."""

HTTP, TCP = "http", "tcp"

KINDS = {"web": HTTP, "sink": HTTP, "app": HTTP, "echo": TCP, "redis": TCP, "postgres": TCP, "iperf": TCP}
"""The upstreams, and the kind of tunnel for each."""

_WEB = """
worker_processes 1;
events {{ worker_connections 4000; }}
http {{
    sendfile on;
    keepalive_requests 100000000;
    server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ root {root}; }} }}
}}
"""


class Upstreams:
    """The services of one run, in C{folder}."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, int] = {}
        self._programs: list[Program] = []

    def port(self, name: str) -> int:
        """The port of one of L{KINDS}."""
        if name not in self._ports:
            start: Callable[[], int] = getattr(self, f"_start_{name}")
            self._ports[name] = start()
        return self._ports[name]

    def close(self) -> None:
        for one in reversed(self._programs):
            one.stop()

    def _run(self, *arguments: object, ready: str, cwd: object = None) -> Program:
        one = Program(*arguments, cwd=cwd)
        self._programs.append(one)
        one.line(ready)
        return one

    def _start_web(self) -> int:
        root = self.folder / "root"
        root.mkdir(mode=0o755)
        (root / "index.html").write_bytes(b"x" * SMALL)
        with open(root / "big", "wb") as file:
            for _ in range(BIG >> 20):
                file.write(os.urandom(1 << 20))
        port = free_port()
        self._programs.append(start_nginx(self.folder / "web", _WEB.format(port=port, root=root)))
        wait_for_port(port)
        return port

    def _start_sink(self) -> int:
        return self._start_ours("sink")

    def _start_echo(self) -> int:
        return self._start_ours("echo")

    def _start_ours(self, name: str) -> int:
        one = self._run(sys.executable, "-m", "bench.upstreams", name, ready=r"^\d+$")
        return int(one.lines[0])

    def _start_app(self) -> int:
        port = free_port()
        options = ["--port", port, "--lifespan", "off", "--no-access-log"]
        self._app = self._run(sys.executable, "-m", "uvicorn", "bench.app:app", *options, ready="running on")
        return port

    @property
    def app(self) -> int:
        """The process of C{app}, which has been started."""
        return self._app.process.pid

    def _start_redis(self) -> int:
        port = free_port()
        options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._run(program("redis-server"), *options, ready="Ready to accept", cwd=self.folder)
        return port

    def _start_postgres(self) -> int:
        folder = self.folder / "postgres"
        folder.mkdir()
        prefix: list[str] = []
        if os.geteuid() == 0:  # it refuses to be root
            prefix = [program("runuser"), "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
        command = [*prefix, program("initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        subprocess.run([*command, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/")
        port = free_port()
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
        server = [*prefix, program("postgres"), "-D", folder / "data", "-p", port, *options]
        self._run(*server, ready="ready to accept connections", cwd="/")
        command = ["pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-i", "-q", "postgres"]
        subprocess.run(command, check=True, capture_output=True)
        return port

    def _start_iperf(self) -> int:
        port = free_port()
        self._run("iperf3", "-s", "-p", port, "--forceflush", ready="Server listening")
        return port


def wait_for_port(port: int, patience: float = 60.0) -> float:
    """Wait until something listens there. @return: when, by L{time.monotonic}."""
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return time.monotonic()
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port}") from None
        time.sleep(0.02)


# -- our own: python -m bench.upstreams sink|echo ------------------------------------------------------------


class _Sink:
    """
    Takes uploads: answers when the whole body has come. C{GET /received}: the bytes of bodies received so far
    on all connections; other GET: 200.
    """

    def __init__(self) -> None:
        self.received = 0

    def serve(self, one: socket.socket) -> None:
        waiting = b""
        room = memoryview(bytearray(1 << 20))
        while True:
            while b"\r\n\r\n" not in waiting:
                data = one.recv(65536)
                if not data:
                    return
                waiting += data
            head, _, waiting = waiting.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            left = int(length[1]) if length else 0
            taken = min(left, len(waiting))
            waiting, left = waiting[taken:], left - taken
            self.received += taken
            while left:
                count = one.recv_into(room, min(left, len(room)))
                if not count:
                    return
                left -= count
                self.received += count
            body = b"%d" % self.received
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _echo(one: socket.socket) -> None:
    while data := one.recv(65536):
        one.sendall(data)


def main() -> None:
    """Serve on a free port, which is printed."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstreams")
    parser.add_argument("name", choices=("sink", "echo"))
    serve = _Sink().serve if parser.parse_args().name == "sink" else _echo
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)

    def run(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with one, contextlib.suppress(OSError):
            serve(one)

    while True:
        one, _ = listener.accept()
        threading.Thread(target=run, args=(one,), daemon=True).start()


if __name__ == "__main__":
    main()
