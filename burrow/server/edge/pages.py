"""The pages that a visitor meets when a tunnel cannot answer: HTML, JSON or plain text, as asked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template

from burrow.http.fields import write_head
from burrow.http.headers import Fields
from burrow.policy.base import Answer
from burrow.server.route import Why
from burrow.traffic.request_id import REQUEST_ID

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus} | {
    413: b"Content Too Large",  # as RFC 9110 calls them; Python had older names until 3.13
    414: b"URI Too Long",
}

_ALLOW = (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE")
_CODE = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class Page:
    """
    @ivar code: the same for programs: "no-such-tunnel", "agent-away"... @ivar title: one line.
    @ivar text: what happened and what to do about it.
    @ivar content: a media type and a body that are sent instead of all that.
    """

    status: int
    code: str
    title: str
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content: tuple[bytes, bytes] | None = None


def _printable(text: str) -> str:
    """
    A text of somebody else's, for any screen: what is no character of a line is shown as Python shows it.

    An escape sequence would reach the terminal of a visitor who uses curl.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def no_such_tunnel(host: str) -> Page:
    """Nobody owns the name."""
    return Page(
        404,
        "no-such-tunnel",
        "There is no tunnel here",
        f"No tunnel is known as {host}. Check the address, or ask whoever sent it. "
        f"If it is to be yours, open it: burrow http PORT --name {host.partition('.')[0]}",
    )


AGENT_AWAY = "agent-away"


def agent_away(host: str) -> Page:
    """The name has an owner whose agent is not connected."""
    text = f"The agent of {host} is not connected now. If it was only cut off, it reconnects by itself."
    return Page(503, AGENT_AWAY, "The agent is away", text, ((b"Retry-After", b"5"),))


def no_route(host: str, why: Why) -> Page:
    """Nobody serves the host now."""
    if why is Why.UNKNOWN:
        return no_such_tunnel(host)
    if why is Why.PASSED_ON:
        return passed_on(host)
    return agent_away(host) if why is Why.AWAY else agent_left(host)


def agent_left(host: str) -> Page:
    """The name has an owner whose agent is not expected: it said good-bye, or has been away for long."""
    text = (
        f"The agent of {host} is not connected: it closed the tunnel, or has been away for a while. "
        "The tunnel is back once the agent is."
    )
    return Page(503, AGENT_AWAY, "The agent is away", text, ((b"Retry-After", b"60"),))


def store_away() -> Page:
    """Who serves the name cannot be asked now."""
    text = "The server cannot tell now which tunnel this is. Try again in a few seconds."
    return Page(503, "store-away", "The server is not ready", text, ((b"Retry-After", b"5"),))


def upstream_failed(code: str, text: str) -> Page:
    """
    The agent is there, and the service behind it did not answer.

    @param code: why, as the agent says. @param text: a sentence of the agent's, perhaps of its upstream's.
    """
    text = _printable(text.strip())
    if not _CODE.fullmatch(code):
        code = "failed"
    if code == "timeout":
        return Page(504, "upstream-timeout", "The upstream did not answer in time", text)
    return Page(502, f"upstream-{code}", "The upstream did not answer", text)


def misdirected(host: str) -> Page:
    """The connection was made for another name, and its certificate does not cover this one."""
    return _wrong_connection(host, "and its certificate does not cover it")


def passed_on(host: str) -> Page:
    """
    The connection was made for another name, whose certificate covers this one, too; so browsers use the
    connection for both (RFC 9113 section 9.1.1), until they are told.
    """
    return _wrong_connection(host, "whose tunnel has TLS of its own")


def _wrong_connection(host: str, why: str) -> Page:
    text = f"This connection is not for {host}, {why}: open one for {host}."
    return Page(421, "misdirected", "This request came over the wrong connection", text)


def bad_request(status: int, text: str) -> Page:
    """The visitor's own message is at fault."""
    text = text[:1].upper() + text[1:] + "."
    headers = (_ALLOW,) if status == 405 else ()
    return Page(status, "bad-request", "This request cannot be passed on", text, headers)


def answered(answer: Answer) -> Page:
    """What a tunnel's policy answers."""
    return Page(answer.status, answer.code, answer.title, answer.text, tuple(answer.fields), answer.content)


def policy_failed() -> Page:
    """A rule of the tunnel's policy raised an error, so that nobody knows whether it lets the visitor in."""
    text = "The server could not decide whether this request may pass. Its log says why."
    return Page(500, "policy-failed", "The tunnel's policy failed", text)


def no_web_socket() -> Page:
    """A rule answers a WebSocket's handshake by what would open it in HTTP/2 (RFC 8441 section 5)."""
    text = "The owner of this tunnel has a page answered here, and no WebSocket."
    return Page(502, "no-web-socket", "There is no WebSocket here", text)


def loop(host: str) -> Page:
    """The request was here before."""
    text = f"The upstream of {host} leads back to this server. Give the tunnel the service's own address."
    return Page(508, "loop", "This tunnel leads to itself", text)


def options() -> Page:
    """The answer to OPTIONS that the edge gives itself."""
    return Page(200, "options", "Burrow", "Requests of any method are passed on.", (_ALLOW,))


# Read now: when it is needed, there may be no file descriptor left.
_TEMPLATE = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))


def _wants(accept: bytes) -> str:
    """Which of the three forms an Accept field likes best; its order decides, not its weights."""
    for part in accept.lower().split(b","):
        kind = part.partition(b";")[0].strip()
        if kind in (b"text/html", b"application/xhtml+xml"):
            return "html"
        if kind == b"application/json" or kind.endswith(b"+json"):
            return "json"
    return "text"


def render(page: Page, accept: bytes, *, head_only: bool, close: bool, request_id: bytes = b"") -> bytes:
    """The whole response. @param request_id: is shown, unless it is empty."""
    headers, body = _made(page, accept, request_id)
    if close:
        headers.append((b"Connection", b"close"))
    head = write_head(b"HTTP/1.1 %d %b" % (page.status, PHRASES.get(page.status, b"Error")), headers)
    return head if head_only else head + body


def parts(page: Page, accept: bytes, request_id: bytes) -> tuple[Fields, bytes]:
    """The fields, as HTTP/2 has them, and the body."""
    headers, body = _made(page, accept, request_id)
    return [(name.lower(), value) for name, value in headers], body


def _made(page: Page, accept: bytes, request_id: bytes) -> tuple[Fields, bytes]:
    """Fields and body, in the form that a visitor wants."""
    form = _wants(accept)
    if page.content is not None:
        kind, body = page.content
    elif form == "html":
        values = {
            "status": page.status,
            "title": escape(page.title),
            "text": escape(page.text),
            "code": escape(page.code),
        }
        kind, body = b"text/html; charset=utf-8", _TEMPLATE.substitute(values).encode()
    elif form == "json":
        fields = {"error": page.code, "status": page.status, "title": page.title, "detail": page.text}
        kind, body = b"application/json", json.dumps(fields).encode() + b"\n"
    else:
        kind, body = b"text/plain; charset=utf-8", f"{page.title} ({page.code})\n{page.text}\n".encode()
    headers: Fields = [
        (b"Date", formatdate(usegmt=True).encode()),  # RFC 9110 section 6.6.1
        (b"Content-Type", kind),
        (b"Content-Length", str(len(body)).encode()),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Burrow-Page", page.code.encode()),
        *page.headers,
    ]
    if request_id:
        headers.append((REQUEST_ID, request_id))
    return headers, body
