"""
The least that a tunnel in Python does: two processes that pass bytes on, in frames over one connection.

    python bench/bare.py server LINK VISITOR...      # ports: the agent's, then one for each upstream
    python bench/bare.py agent LINK UPSTREAM...      # ports: the server's, then the upstreams', likewise

Nothing is read of what passes, nobody is refused, no window holds a sender back, and a lost connection ends
it. So its figures are a bound: what no Python program of two processes can do, Burrow cannot. A frame is a
stream's number, a length, and so many bytes. One of length 0 ends its stream; one with L{_OPENS} in the
number begins it, and has the upstream's place in the list in the place of a length. Standard library alone;
one loop over epoll, one write to the link in a turn of it.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from select import EPOLLIN, epoll

_HEAD = struct.Struct(">II")
_OPENS = 1 << 31
_READ = 256 * 1024


class Bare:
    """Either end. Its sockets block, so that each write is one call; what there is to read, epoll tells."""

    def __init__(self, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link = link
        self._poll = epoll()
        self._streams: dict[int, socket.socket] = {}
        self._numbers: dict[int, int] = {}
        self._out: list[bytes] = []
        self._received = b""
        self._poll.register(link.fileno(), EPOLLIN)

    def run(self) -> None:
        """Until the link ends."""
        link = self._link.fileno()
        while True:
            for descriptor, _ in self._poll.poll():
                number = self._numbers.get(descriptor)
                if number is not None:
                    self._read(number)
                elif descriptor != link:
                    self.accept(descriptor)
                elif not self._frames():
                    return
            if self._out:
                self._link.sendall(b"".join(self._out))
                self._out.clear()

    def accept(self, listening: int) -> None:
        """
        A listening socket has a connection, or a stream's socket had something and was closed in this turn.
        """

    def opened(self, number: int, place: int) -> None:
        """The other end has begun a stream."""
        raise NotImplementedError

    def add(self, number: int, connection: socket.socket) -> None:
        """A stream has a socket."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams[number] = connection
        self._numbers[connection.fileno()] = number
        self._poll.register(connection.fileno(), EPOLLIN)

    def send(self, number: int, data: bytes) -> None:
        """A frame for the link, at the end of this turn."""
        self._out.append(_HEAD.pack(number, len(data)) + data)

    def _read(self, number: int) -> None:
        try:
            data = self._streams[number].recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:  # its number was another's, whose event this is
            return
        except ConnectionError:
            data = b""
        self.send(number, data)
        if not data:
            self._close(number)

    def _frames(self) -> bool:
        data = self._link.recv(_READ)
        if not data:
            return False
        data = self._received + data
        at = 0
        while len(data) >= at + _HEAD.size:
            number, length = _HEAD.unpack_from(data, at)
            if number & _OPENS:
                self.opened(number ^ _OPENS, length)
                at += _HEAD.size
                continue
            end = at + _HEAD.size + length
            if len(data) < end:
                break
            self._frame(number, data[at + _HEAD.size : end])
            at = end
        self._received = data[at:]
        return True

    def _frame(self, number: int, data: bytes) -> None:
        if not data:
            self._close(number)
            return
        with suppress(KeyError, ConnectionError):  # it has ended here
            self._streams[number].sendall(data)

    def _close(self, number: int) -> None:
        connection = self._streams.pop(number, None)
        if connection is not None:
            del self._numbers[connection.fileno()]
            connection.close()  # epoll forgets it, too


class Server(Bare):
    """Has a port for each upstream."""

    def __init__(self, link: int, ports: list[int]) -> None:
        listening = socket.create_server(("127.0.0.1", link))
        print("listening", flush=True)
        super().__init__(listening.accept()[0])
        self._count = 0
        self._listening: dict[int, tuple[socket.socket, int]] = {}
        for place, port in enumerate(ports):
            one = socket.create_server(("127.0.0.1", port), backlog=4096)
            self._listening[one.fileno()] = one, place
            self._poll.register(one.fileno(), EPOLLIN)

    def accept(self, listening: int) -> None:
        """See L{Bare}."""
        if listening not in self._listening:
            return
        one, place = self._listening[listening]
        self._count += 1
        self.add(self._count, one.accept()[0])
        self._out.append(_HEAD.pack(self._count | _OPENS, place))


class Agent(Bare):
    """Connects to the upstreams."""

    def __init__(self, link: int, ports: list[int]) -> None:
        super().__init__(socket.create_connection(("127.0.0.1", link)))
        self._ports = ports

    def opened(self, number: int, place: int) -> None:
        """See L{Bare}. On the loopback, connecting is done when the call returns."""
        self.add(number, socket.create_connection(("127.0.0.1", self._ports[place])))


if __name__ == "__main__":
    role, *numbers = sys.argv[1:]
    link_port, *others = map(int, numbers)
    {"server": Server, "agent": Agent}[role](link_port, others).run()
