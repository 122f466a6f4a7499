"""
Which Host the upstream is asked for: the visitor's, or one that it knows itself by.

Development servers answer only hosts that they know, as a protection of the developer's own browser (DNS
rebinding). With another Host, the request has to be the upstream's throughout, or its checks of Origin (CSRF,
CORS, WebSocket handshakes) fail; and what it says of itself in its answer means nothing to the visitor. So
both are rewritten: Origin and Referer on the way in; Location, Content-Location, Refresh, Link, the Domain of
cookies and Access-Control-Allow-Origin on the way out.

X-Forwarded-Host keeps the visitor's where the upstream's Host was asked for by an option. Where an upstream
refused the visitor's, it is told that host nowhere: Rails refuses it in X-Forwarded-Host, too, and others
compare Origin with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from burrow.addresses import DEFAULT_PORTS
from burrow.http.headers import Fields
from burrow.policy.base import Visit

AUTO, PRESERVE, UPSTREAM = "auto", "preserve", "upstream"
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::(\d{1,5}))?")
_LINK = re.compile(rb"<([^<>]*)>")
_REFRESH = re.compile(rb"(\s*[\d.]+\s*[;,]\s*url\s*=\s*[\"']?)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class HostHeader:
    """
    The value of C{--host-header}.

    @ivar mode: "auto", "preserve", "upstream", or "fixed" for a value.
    @ivar origin: the scheme and authority by which the upstream knows itself, as in
        C{http://localhost:3000}; empty while it is not known.
    """

    mode: str
    origin: str = ""

    def __str__(self) -> str:
        if self.mode == "fixed":
            return self.origin
        return f"{self.mode}={self.origin}" if self.origin else self.mode

    def told(self) -> str:
        """As the owner wrote it, without what follows from the upstream."""
        return self.origin if self.mode == "fixed" else self.mode

    def of(self, upstream: str) -> HostHeader:
        """
        The same, knowing the upstream.

        @param upstream: its description: a URL, C{HOST:PORT}, or anything else, which tells nothing.
        """
        if self.mode not in (AUTO, UPSTREAM) or self.origin:
            return self
        if upstream.startswith(("unix:", "h2c+unix:")):
            return HostHeader(self.mode, "http://localhost")
        text = upstream if "://" in upstream else f"http://{upstream}"
        scheme, _, rest = text.partition("://")
        scheme = {"h2c": "http", "h2": "https"}.get(scheme, scheme)
        authority = rest.partition("/")[0]
        if scheme not in DEFAULT_PORTS or not _AUTHORITY.fullmatch(authority):
            return self
        host, colon, port = authority.rpartition(":")
        if colon and port == str(DEFAULT_PORTS[scheme]):
            authority = host
        return HostHeader(self.mode, f"{scheme}://{authority}")


def parse_host_header(text: str) -> HostHeader:
    """C{auto}, C{preserve}, C{upstream}, or a host, with its scheme if that is not http."""
    mode, equals, origin = text.strip().partition("=")
    if mode in (AUTO, PRESERVE, UPSTREAM) and not equals:
        return HostHeader(mode)
    if not equals:
        mode, origin = "fixed", mode
    if "://" not in origin:
        origin = f"http://{origin}"
    scheme, _, authority = origin.partition("://")
    found = _AUTHORITY.fullmatch(authority)
    if (
        mode not in (AUTO, UPSTREAM, "fixed")
        or scheme not in DEFAULT_PORTS
        or found is None
        or int(found[2] or 0) > 65535
        or len(authority) > 255
    ):
        raise ValueError("write auto, preserve, upstream or a host, as in localhost:3000")
    return HostHeader(mode, origin)


class RewriteHost:
    """
    The rule: requests are for the upstream's own origin.

    @param origin: as in C{http://localhost:3000}.
    @param forwards: whether the upstream is told the visitor's host and scheme (X-Forwarded-Host and others).
    """

    __slots__ = ("_authority", "_forwards", "_host", "_origin")

    def __init__(self, origin: str, *, forwards: bool = True) -> None:
        self._origin = origin.encode()
        self._forwards = forwards
        self._authority = self._origin.partition(b"://")[2]
        self._host = (urlsplit(origin).hostname or "").encode()

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        visit.host = self._authority
        visit.forwards = visit.forwards and self._forwards
        public, secure = visit.origin, visit.scheme == "https"
        visit.on_request.append(lambda fields: self._to_upstream(fields, public))
        visit.on_answer.append(lambda fields: self._to_visitor(fields, public, secure))

    def holds(self, visit: Visit) -> bool:
        """Whether a request is for the upstream's own host already."""
        return visit.host == self._authority

    def _to_upstream(self, fields: Fields, public: bytes) -> Fields:
        """Of its own pages' requests Origin and Referer; those of another site stay what they are."""
        return [
            (name, _moved(value, public, self._origin) if name.lower() in (b"origin", b"referer") else value)
            for name, value in fields
        ]

    def _to_visitor(self, fields: Fields, public: bytes, secure: bool) -> Fields:
        return [(name, self._shown(name.lower(), value, public, secure)) for name, value in fields]

    def _shown(self, name: bytes, value: bytes, public: bytes, secure: bool) -> bytes:
        """An answer's field as the visitor gets it."""
        if name in (b"location", b"content-location", b"access-control-allow-origin"):
            return self._public(value, public)
        if name == b"link":
            return _LINK.sub(lambda found: b"<" + self._public(found[1], public) + b">", value)
        if name == b"refresh" and (found := _REFRESH.fullmatch(value)):
            return found[1] + self._public(found[2], public)
        if name == b"set-cookie":
            return self._cookie(value, secure)
        return value

    def _public(self, url: bytes, public: bytes) -> bytes:
        """A URL of the upstream's own, whatever scheme it thinks that it has, as the visitor reaches it."""
        moved = url
        for scheme in (b"http://", b"https://", b"//"):
            ours = public if scheme != b"//" else b"//" + public.partition(b"://")[2]
            moved = _moved(url, scheme + self._authority, ours)
            if moved is not url:
                break
        return moved

    def _cookie(self, value: bytes, secure: bool) -> bytes:
        """
        A cookie without a Domain that is the upstream's: it is the visitor's host's then (RFC 6265 section
        5.3). Without TLS at the visitor it has no Secure either, as without a tunnel it would need none.
        """
        first, *attributes = value.split(b";")
        kept = []
        for attribute in attributes:
            name, _, said = attribute.partition(b"=")
            name = name.strip().lower()
            if name == b"domain" and said.strip().lstrip(b".").lower() == self._host.lower():
                continue
            if name == b"secure" and not secure:
                continue
            kept.append(attribute)
        return b";".join([first, *kept])


class OfHandshakes:
    """
    A rule for WebSocket handshakes alone: some upstreams take any Host, and refuse another Origin there.

    @param rule: it.
    """

    __slots__ = ("_rule",)

    def __init__(self, rule: RewriteHost) -> None:
        self._rule = rule

    def visit(self, visit: Visit) -> None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        if visit.request.upgrade:
            self._rule.visit(visit)


def _moved(url: bytes, old: bytes, new: bytes) -> bytes:
    """A URL of one origin as one of another; the same object if it is not of that origin."""
    if url[: len(old)].lower() == old.lower() and url[len(old) : len(old) + 1] in (b"", b"/", b"?", b"#"):
        return new + url[len(old) :]
    return url
