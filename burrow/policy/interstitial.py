"""
A page before a browser's first visit, so that nobody takes a tunnel for the site that it may pretend to be.
No I/O.
"""

from __future__ import annotations

from html import escape

from burrow.http.cookies import cookie_of, without_cookies
from burrow.policy.base import Answer, Visit

COOKIE = b"burrow-seen"
_AGE = 7 * 86_400
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Before you visit {host}</title>
<body style="font: 1.1rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 12vh auto; padding: 0 1rem">
<h1 style="font-size: 1.5rem">You are about to visit {host}</h1>
<p>It is a tunnel to a program on somebody's own machine. Go on only if you trust whoever gave you
the address, and give no password that you use elsewhere.</p>
<p><a href="{target}" rel="nofollow">Visit {host}</a></p>
"""


class Interstitial:
    """
    The rule. Only a browser that navigates gets the page: never fetch, a WebSocket, a webhook or curl.

    The page sets a cookie, which the upstream never sees.
    """

    __slots__ = ()

    def visit(self, visit: Visit) -> Answer | None:
        """See L{IRule<burrow.policy.base.IRule>}."""
        if cookie_of(visit.request.headers, COOKIE) is not None:
            visit.on_request.append(lambda fields: without_cookies(fields, COOKIE.__eq__))
            return None
        if not _navigates(visit):
            return None
        secure = b"; Secure" if visit.scheme == "https" else b""
        cookie = b"%b=1; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%b" % (COOKIE, _AGE, secure)
        target = visit.request.target.decode("latin-1")
        # Two slashes in front would be another host's.
        target = "/" + target.lstrip("/\\") if target.startswith("/") else "/"
        page = _PAGE.format(host=escape(visit.request.host), target=escape(target))
        fields = [
            (b"Set-Cookie", cookie),
            (
                b"Content-Security-Policy",
                b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
            (b"Referrer-Policy", b"no-referrer"),
        ]
        content = b"text/html; charset=utf-8", page.encode()
        return Answer(200, "interstitial", "Before you visit", "", fields, content)


def _navigates(visit: Visit) -> bool:
    """Whether a browser shows the answer as a page; older ones do not say so, and accept HTML by name."""
    request = visit.request
    if request.method != b"GET" or request.upgrade:
        return False
    if mode := request.headers.value(b"sec-fetch-mode"):
        return mode == b"navigate" and request.headers.value(b"sec-fetch-dest") in (b"document", b"")
    browser = request.headers.value(b"user-agent").startswith(b"Mozilla/")
    return browser and b"text/html" in request.headers.value(b"accept")
