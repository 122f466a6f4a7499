"""A redis-server of the tests' own."""

import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.e2e.harness import free_port
from tests.programs import program


class RedisServer:
    """A real Redis on a port of the loopback, keeping nothing on the disk."""

    def __init__(self, *options, tls=None):
        self.port = free_port()
        self._options = options
        if tls is not None:
            self._options += ("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no")
            self._options += ("--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1]))
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [program("redis-server"), *self._arguments],
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

    @property
    def _arguments(self):
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options]

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Sentinel(RedisServer):
    """A Sentinel that watches one master, and makes its replica the master half a second after it died."""

    def __init__(self, master):
        self._file = Path(tempfile.mkdtemp()) / "sentinel.conf"
        self._file.write_text(
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        )
        self._file.chmod(0o600)
        super().__init__("--sentinel")

    @property
    def _arguments(self):
        return [str(self._file), "--port", str(self.port), "--bind", "127.0.0.1", *self._options]
