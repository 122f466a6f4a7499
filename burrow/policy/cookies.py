"""The cookies that the edge itself sets for visitors of a tunnel. No I/O."""

from __future__ import annotations

from burrow.http.cookies import cookie_of, without_cookies
from burrow.http.headers import Fields, Headers
from burrow.policy.base import Change, Visit

_PLAIN, _SECURE = b"burrow-", b"__Host-burrow-"
_OWN = (_PLAIN, _SECURE)


def _name(visit: Visit, name: bytes) -> bytes:
    """Of HTTPS, browsers take such a name from this host alone (RFC 6265bis section 4.1.3.2)."""
    return (_SECURE if visit.scheme == "https" else _PLAIN) + name


def cookie(visit: Visit, name: bytes) -> bytes:
    """The value of one of our cookies; empty without it. Of two with one name the first counts."""
    return cookie_of(visit.request.headers, _name(visit, name)) or b""


def set_cookie(
    visit: Visit, name: bytes, value: bytes, seconds: int, path: bytes = b"/"
) -> tuple[bytes, bytes]:
    """
    A Set-Cookie field: for this host alone, out of scripts' reach, and not sent with other sites' requests
    but links.

    @param seconds: how long it counts; 0 takes it away.
    """
    secure = b"; Secure" if visit.scheme == "https" else b""
    text = b"%b=%b; Path=%b; Max-Age=%d; HttpOnly; SameSite=Lax%b"
    return b"Set-Cookie", text % (_name(visit, name), value, path, seconds, secure)


def without_ours(fields: Fields) -> Fields:
    """A L{Change<burrow.policy.base.Change>}: a request without our cookies, which are not the upstream's."""
    return without_cookies(fields, lambda name: name.startswith(_OWN))


def without(*names: bytes) -> Change:
    """The change that takes fields of these names, in lower case, away."""
    return lambda fields: [pair for pair in fields if pair[0].lower() not in names]


def from_elsewhere(visit: Visit) -> bool:
    """
    Whether a page of another origin asks for something that may change things: its visitor's cookies do not
    count then. Other tunnels of the server are of the same site, so SameSite alone does not keep their pages
    out.
    """
    request = visit.request
    if request.method in (b"GET", b"HEAD", b"OPTIONS") and not request.upgrade:
        return False
    origins = _origins(request.headers)
    return any(origin.lower() != visit.origin.lower() for origin in origins)


def _origins(headers: Headers) -> list[bytes]:
    return headers.get(b"origin", [])


def navigates(visit: Visit) -> bool:
    """Whether a person opens a page, who can be shown another one: no script's request, and no WebSocket."""
    request = visit.request
    if request.method not in (b"GET", b"HEAD") or request.upgrade:
        return False
    mode = request.headers.value(b"sec-fetch-mode")
    if mode:
        return mode == b"navigate"
    return any(part.split(b";")[0].strip() == b"text/html" for part in request.headers.tokens(b"accept"))


def safe_return(target: bytes) -> bytes:
    """A path of this host to go to after signing in; C{/} for anything else. C{//} would be another host."""
    plain = target.startswith(b"/") and not target.startswith((b"//", b"/\\", b"/_burrow/"))
    return target if plain and all(0x20 < byte < 0x7F for byte in target) else b"/"
