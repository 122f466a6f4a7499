"""
Two kinds of readers of what the edge writes: h11, which is strict, and careless ones, which take anything.

A message has one meaning if they all read the same.
"""

import itertools
import re

import h11


class Unreadable(Exception):
    """A reader sees no message, or not the end of one."""


class Behind(AssertionError):
    """A reader sees something behind the message: it would take it for another."""


def h11_request(data):
    """Method, target, headers and body of the one request in C{data}."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request, body, trailers = _h11_read(connection)
    return request.method, request.target, list(request.headers), body, trailers


def h11_response(data, method, *, closed):
    """Status, headers and body of the one answer to a C{method} request in C{data}, behind interim ones."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if closed:
        connection.receive_data(b"")
    answer, body, trailers = _h11_read(connection)
    return answer.status_code, list(answer.headers), body, trailers


def _h11_read(connection):
    head, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, (h11.Request, h11.Response)):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                rest = connection.trailing_data[0]
                if rest:
                    raise Behind(f"{rest!r} is behind the message")
                return head, body, list(event.headers)
            elif not isinstance(event, h11.InformationalResponse):
                raise Unreadable(f"{event!r} instead of more of the message")
    except h11.RemoteProtocolError as error:
        raise Unreadable(str(error)) from error


class Careless:
    """
    A reader that takes almost anything.

    @param lines: what it takes for a line's end. @param last: whether of two lengths the last counts.
    @param chunked_first: whether Transfer-Encoding counts before Content-Length.
    """

    def __init__(self, lines, last, chunked_first):
        self._lines = lines
        self._last = last
        self._chunked_first = chunked_first

    def request(self, data):
        """Method, target, fields by CGI name, and body of the one request in C{data}."""
        first, fields, rest = self._head(data)
        words = first.split()
        return words[0], words[1], fields, self._body(fields, rest, b"")

    def response(self, data, method, *, closed):
        """Status, fields and body of the one answer in C{data}, behind interim ones."""
        while True:
            first, fields, data = self._head(data)
            status = int(first.split()[1])
            if status >= 200:
                break
        if method == b"HEAD" or status in (204, 304):
            fields = {name: values for name, values in fields.items() if name not in ("CONTENT_LENGTH",)}
            return status, fields, self._body(fields, data, b"")
        return status, fields, self._body(fields, data, data if closed else None)

    def _head(self, data):
        match = re.search(self._lines + self._lines, data)
        if match is None:
            raise Unreadable("the head has no end")
        lines = re.split(self._lines, data[: match.start()])
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            name = re.sub(r"[^A-Z0-9]", "_", name.strip().decode("latin-1").upper())
            fields.setdefault(name, []).append(value.strip())
        return lines[0], fields, data[match.end() :]

    def _body(self, fields, rest, unframed):
        chunked = any(b"chunked" in value.lower() for value in fields.get("TRANSFER_ENCODING", []))
        lengths = fields.get("CONTENT_LENGTH", [])
        if chunked and (self._chunked_first or not lengths):
            return self._chunks(rest)
        if lengths:
            found = re.search(rb"\d+", lengths[-1 if self._last else 0])
            length = int(found[0]) if found else 0
            if len(rest) != length:
                raise (Behind if len(rest) > length else Unreadable)(f"{len(rest)} bytes of {length}")
            return rest
        if unframed is None or (rest and not unframed):
            raise Behind(f"{rest!r} is behind the message")
        return rest

    def _chunks(self, rest):
        body = b""
        while True:
            match = re.search(self._lines, rest)
            if match is None:
                raise Unreadable("a chunk has no size")
            size, rest = int(rest[: match.start()].split(b";")[0].strip(), 16), rest[match.end() :]
            if not size:
                break
            body, rest = body + rest[:size], rest[size:]
            end = re.match(self._lines, rest)
            if end is None:
                raise Unreadable("a chunk has no end")
            rest = rest[end.end() :]
        while rest:
            line, rest = re.split(self._lines, rest, maxsplit=1)
            if not line:
                break
        if rest:
            raise Behind(f"{rest!r} is behind the chunks")
        return body


CARELESS = [
    Careless(*choice)
    for choice in itertools.product(
        [rb"\r\n", rb"\r?\n", rb"(?:\r\n|\n|\r(?!\n))"], [False, True], [False, True]
    )
]
