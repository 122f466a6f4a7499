"""What an HTTP/2 upstream answers, as HTTP/1.1 has it: status lines, fields and trailers, each checked."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from burrow.http.fields import HOP_BY_HOP, may_be_trailer
from burrow.http.head import BadMessage
from burrow.http.headers import Fields

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """The first line of an answer, without its end."""
    return b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b""))


def read_answer(fields: Any) -> tuple[int, Fields]:
    """An answer's status and fields. @raise BadMessage: HTTP/1.1 could read them as something else."""
    status, passing = 0, []
    for name, value in fields:
        if name == b":status":
            if not (len(value) == 3 and value.isdigit() and value >= b"100"):
                raise BadMessage(502, "the answer has no possible status")
            status = int(value)
        elif not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadMessage(502, "the answer has a field with characters that none may have")
        elif name == b"content-length" or name not in HOP_BY_HOP:
            passing.append((bytes(name), bytes(value)))
    lengths = {value for name, value in passing if name == b"content-length"}
    if len(lengths) > 1 or any(not value.isdigit() or len(value) > 18 for value in lengths):
        raise BadMessage(502, "Content-Length must be one number")
    if not status:
        raise BadMessage(502, "the answer has no status")
    return status, passing


def read_trailers(fields: Any) -> Fields:
    """The fields behind an answer. @raise BadMessage: as L{read_answer}."""
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadMessage(502, "a trailer field has characters that none may have")
    return [(bytes(name), bytes(value)) for name, value in fields if may_be_trailer(name)]
