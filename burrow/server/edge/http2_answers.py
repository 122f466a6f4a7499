"""A final answer's head, as HTTP/2 has it: written once for the answers that are alike but for their ids."""

from __future__ import annotations

from burrow.http.http2_server.heads import Heads
from burrow.http.response_head import ResponseHead
from burrow.server.edge.answers import answer_fields
from burrow.server.edge.exchange import Exchange


def answer_block(exchange: Exchange, head: ResponseHead, domain: str, heads: Heads) -> bytes:
    """
    The block of an answer's head, which has to be sent: see L{Heads.write}.

    @param domain: the base domain, for which no cookie may be set.
    """
    request, number = exchange.request, exchange.request_id
    cookie = exchange.among.cookie if exchange.among is not None else b""
    if not cookie and head.passed_on is not None:
        written, numbered = head.passed_on
        block: bytes | None = heads.again(written, number if numbered else b"")
        if block is not None:
            return block
    fields = answer_fields(request, head, domain, number, cookie=cookie)
    fields.insert(0, (b":status", b"%d" % head.status))
    numbered = b"x-request-id" not in head.headers  # then the id is the last field
    block, written = heads.write_again(fields, *(fields.pop() if numbered else ()))
    head.passed_on = (written, numbered) if not cookie and written is not None else None
    return block
