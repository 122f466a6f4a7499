"""A redis-server of the tests' own."""

import signal
import socket
import subprocess
import tempfile
import time

from tests.e2e.harness import free_port
from tests.programs import program


class RedisServer:
    """A real Redis on a port of the loopback, keeping nothing on the disk."""

    def __init__(self, *options):
        self.port = free_port()
        self._options = options
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                program("redis-server"),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                *self._options,
            ],
            cwd=tempfile.mkdtemp(),
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.kill()
        self.process.wait()
