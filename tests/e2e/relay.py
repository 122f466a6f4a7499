"""A relay between agent and server that fails when it is told to."""

import contextlib
import random
import selectors
import socket
import struct
import threading
import time


class Relay:
    """
    Forwards TCP connections to a port of the loopback.

    L{cut} resets all that are open, L{silence} forwards nothing more on those that are open, without closing
    them: as if a cable was pulled. New connections work, and go to C{target}.
    """

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs = []
        self.connections = 0
        self.bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, 5)
            except OSError:
                near.close()
                continue
            pair = _Pair(self, near, far)
            with self._lock:
                self.connections += 1
                self._pairs.append(pair)
            threading.Thread(target=pair.run, daemon=True).start()

    def cut(self):
        """Reset every open connection, now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.reset()

    def silence(self):
        """Let every open connection fall silent."""
        with self._lock:
            for pair in self._pairs:
                pair.silent = True

    def close(self):
        self._listener.close()
        self.cut()


class _Pair:
    def __init__(self, relay, near, far):
        self.relay, self.near, self.far = relay, near, far
        self.silent = False
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def run(self):
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError):
            selector.register(self.near, selectors.EVENT_READ, self.far)
            selector.register(self.far, selectors.EVENT_READ, self.near)
            while True:
                for key, _ in selector.select():
                    if self.silent:
                        threading.Event().wait()  # a daemon thread: it holds the sockets open for ever
                    data = key.fileobj.recv(65536)
                    if not data:
                        raise OSError("closed")
                    key.data.sendall(data)
                    self.relay.bytes += len(data)
        self.reset()

    def reset(self):
        for each in (self.near, self.far):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def cutting(relay, moved, total, times):
    """Cut C{times} times at random points of C{moved()}'s way to C{total}, in a thread."""
    points = sorted(random.uniform(0.01, 0.97) * total for _ in range(times))
    done = []

    def work():
        for point in points:
            while moved() < point:
                time.sleep(0.001)
            relay.cut()
            done.append(point)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, done
