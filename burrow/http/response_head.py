"""The head of a response: what frames its body, and whether another may follow (RFC 9112). No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httptools

from burrow.http.head import TOKEN, BadMessage, HeadReader, content_length, read_fields
from burrow.http.headers import Headers
from burrow.http.remembered import Remembered

MAX_RESPONSE_HEAD = 256 * 1024
"""Bytes of a response's head, at most."""

_BLANK_BEFORE_COLON = re.compile(rb"(^" + TOKEN + rb")[\t ]+:", re.MULTILINE)
_FOLD = re.compile(rb"\r\n[\t ]+")


@dataclass(slots=True)
class ResponseHead:
    """
    What an upstream answers.

    @ivar length: bytes of the body; None for a chunked one or one that ends with the connection.
    @ivar declared: its Content-Length, whether or not there is a body; None without one.
    @ivar chunked: whether the body is chunked. @ivar keep_alive: whether another may follow.
    @ivar bodiless: whether no answer of this status has a body (RFC 9112 section 6.3).
    @ivar passed_on: once it was written as the answer to a request whose connection stays open: of HTTP/1.1,
        the L{AnswerHead<burrow.server.edge.answers.AnswerHead>}; of HTTP/2, the
        L{Written<burrow.http.http2_server.heads.Written>}, and whether it ends with the request's id. One
        connection's, as the object.
    """

    status: int
    reason: bytes
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool
    declared: int | None
    bodiless: bool
    passed_on: Any = field(default=None, compare=False, repr=False)


class ResponseReader(HeadReader):
    """
    Reads response heads.

    @param remembered: those that came before on this connection, which are not read again.
    """

    line = re.compile(rb"HTTP/(\d\.\d) ([1-9]\d\d)(?: ([\t -~\x80-\xff]*))?\r\n")
    example = "HTTP/1.1 200 OK"
    limit = MAX_RESPONSE_HEAD

    def __init__(self, remembered: Remembered[ResponseHead] | None = None) -> None:
        super().__init__()
        self._remembered = remembered

    def feed(self, data: bytes, method: bytes) -> tuple[ResponseHead, bytes] | None:
        """
        Take bytes; the head of the answer to a C{method} request and what is behind it, or None.

        @raise BadMessage: this is no response.
        """
        remembered = None if self.started or method == b"HEAD" else self._remembered
        if remembered is not None:
            # As in RequestReader. To HEAD the same bytes mean another length.
            end = data.find(b"\r\n\r\n") + 4
            known = remembered.known.get(data if end == len(data) else data[:end])
            if known is not None:
                return known, data[end:]
        cut = self.cut(data)
        if cut is None:
            return None
        line, fields, rest = cut
        version, status, reason = line[1], int(line[2]), line[3] or b""
        if version not in (b"1.1", b"1.0"):
            raise BadMessage(502, f"the response is HTTP/{version.decode()}, which is not spoken here")
        headers = read_fields(httptools.HttpResponseParser, b"HTTP/1.1 200 OK\r\n", _mended(fields))
        codings = headers.tokens(b"transfer-encoding") if b"transfer-encoding" in headers else None
        declared = content_length(headers)
        chunked = bool(codings)
        if chunked and codings != [b"chunked"]:
            # Another coding is for the hop that asked for it by TE, and we never do.
            raise BadMessage(502, "the response has a Transfer-Encoding that is not chunked")
        connection = headers.tokens(b"connection") if b"connection" in headers else ()
        # HTTP/1.0 has no Transfer-Encoding: what is behind such an answer is not believed (RFC 9112 section
        # 6.1).
        keep_alive = b"close" not in connection and (
            version == b"1.1" or (b"keep-alive" in connection and not chunked)
        )
        length = declared
        bodiless = status < 200 or status in (204, 304)
        if method == b"HEAD" or bodiless:
            length, chunked = 0, False
        elif chunked:
            length = None
        keep_alive = keep_alive and (chunked or length is not None)
        head = ResponseHead(status, reason, headers, length, chunked, keep_alive, declared, bodiless)
        if remembered is not None:
            remembered.came(data[: len(data) - len(rest)], head)
        return head, rest


def _mended(fields: bytes) -> bytes:
    """
    The fields of a response as a gateway has to pass them on: no blank before a colon (RFC 9112 section 5.1),
    no value over several lines (section 5.2). In a request both are refused.
    """
    if b"\n " in fields or b"\n\t" in fields:
        fields = _FOLD.sub(b" ", fields)
    if b" :" in fields or b"\t:" in fields:
        fields = _BLANK_BEFORE_COLON.sub(rb"\1:", fields)
    return fields
