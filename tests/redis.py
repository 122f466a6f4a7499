"""A redis-server of the tests' own."""

import signal
import socket
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.e2e.harness import free_port
from tests.programs import program


class RedisServer:
    """A real Redis on a port of the loopback, keeping nothing on the disk but what C{SAVE} wrote."""

    def __init__(self, *options, tls=None):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp())
        self._options = options
        if tls is not None:
            self._options += ("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no")
            self._options += ("--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1]))
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [program("redis-server"), *self._arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
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

    def revive(self):
        """Have it run, whatever was done to it."""
        if self.process.poll() is None:
            self.go_on()
        else:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
            self.start()

    def ask(self, *command, database=0):
        """The answer to one command, in bytes; lists for lists."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as client, client.makefile("rwb") as file:
            password = [option for name, option in pairwise(self._options) if name == "--requirepass"]
            for words in (*(("AUTH", one) for one in password), *self._select(database), command):
                texts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
                file.write(b"*%d\r\n" % len(texts))
                file.write(b"".join(b"$%d\r\n%s\r\n" % (len(text), text) for text in texts))
                file.flush()
                answer = self._answer(file)
            return answer

    def _select(self, database):
        return [("SELECT", str(database))]

    def _answer(self, file):
        kind, rest = (line := file.readline())[:1], line[1:-2]
        if kind == b"-":
            raise AssertionError(rest.decode())
        if kind == b"*":
            return [self._answer(file) for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
        return rest

    def snapshot(self, database=0):
        """All that is in a database; see L{go_back}."""
        keys = self.ask("KEYS", "*", database=database)
        return {key: self.ask("DUMP", key, database=database) for key in keys}

    def go_back(self, snapshot, database=0):
        """Have a database as it was, in one step for whoever looks, as after a failover to an old replica."""
        script = "redis.call('FLUSHDB') for i = 1, #KEYS do redis.call('RESTORE', KEYS[i], 0, ARGV[i]) end"
        self.ask("EVAL", script, len(snapshot), *snapshot.keys(), *snapshot.values(), database=database)


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

    def _select(self, database):
        return []  # it has none

    def knows_replicas(self):
        """Whether it knows of any: without one it makes none the master. It asks every 10 seconds."""
        return bool(self.ask("SENTINEL", "REPLICAS", "main"))
