"""
One password for all visitors, asked for on a page. No I/O.

Who knew it gets a cookie: when it ends, and a keyed hash of that and the host. The key is derived from the
password's own hash, so all nodes have it, and another password ends all sign-ins.
"""

from __future__ import annotations

import hmac
from html import escape
from secrets import token_bytes
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred

from burrow.policy.base import Answer, Visit
from burrow.policy.cookies import cookie, from_elsewhere, safe_return, set_cookie
from burrow.policy.doors import Door, Verdict, kept_as_it_is, see_other, too_often
from burrow.policy.hashed import LONGEST, Hashed, Secret
from burrow.policy.limits import too_large
from burrow.policy.tries import Tries

SIGN_IN = b"/_burrow/sign-in"
"""What the page's form is sent to."""

LASTS = 12 * 3600
"""Seconds that a sign-in counts."""

_MAX_FORM = 16 * 1024
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Password</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:22rem;margin:20vh auto 0;padding:0 1rem;color:#222;
background:#fff}input,button{font:inherit;padding:.5rem;width:100%%;box-sizing:border-box;margin:.3rem 0}
@media (prefers-color-scheme:dark){body{color:#eee;background:#181818}}</style></head>
<body><h1>%(host)s</h1><p role="status">%(text)s</p><form method="post" action="/_burrow/sign-in">
<input type="hidden" name="to" value="%(to)s"><label>Password
<input type="password" name="password" autocomplete="current-password" required autofocus></label>
<button>Open</button></form></body></html>
"""


class PasswordPage(Door):
    """The door. @param password: the one that lets in."""

    cookie = b"password"
    wanted = "Open this page in a browser and give its password."

    def __init__(self, password: Secret) -> None:
        self._password = password
        self._tries = Tries()
        # A plain one is of an agent that only checks its options: it lets nobody in.
        seed = password.digest if isinstance(password, Hashed) else token_bytes(32)
        self._key = hmac.digest(seed, b"burrow password cookie", "sha256")

    def check(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        """See L{Door}."""
        request = visit.request
        if request.method == b"POST" and request.target == SIGN_IN:
            return self._sign_in(visit)
        if self._ends(visit) <= visit.means.now() or from_elsewhere(visit):
            return None
        if request.target.partition(b"?")[0] == SIGN_IN:
            return see_other(b"/")
        return kept_as_it_is

    def page(self, visit: Visit) -> Answer:
        """See L{Door}."""
        return self._form(visit, 401, "This page is for those who know its password.", visit.request.target)

    def _form(self, visit: Visit, status: int, text: str, to: bytes) -> Answer:
        words = {
            "host": escape(visit.request.host),
            "text": escape(text),
            "to": escape(safe_return(to).decode("ascii")),
        }
        fields = [
            (b"WWW-Authenticate", self.challenge),
            (
                b"Content-Security-Policy",
                b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
                b"frame-ancestors 'none'; base-uri 'none'",
            ),
            (b"Referrer-Policy", b"same-origin"),
        ]
        content = (b"text/html; charset=utf-8", (_PAGE % words).encode())
        return Answer(status, "password-wanted", "A password is wanted", text, fields, content)

    # -- the form ------------------------------------------------------------------------------------------

    def _sign_in(self, visit: Visit) -> Verdict | Deferred[Verdict]:
        if wait := self._tries.wait(visit.address, visit.means.now()):
            return too_often(wait)
        if from_elsewhere(visit):
            return self._form(
                visit, 403, "The form was sent from another page: give the password here.", b"/"
            )
        return visit.read_body(_MAX_FORM).addCallback(self._read, visit)

    def _read(self, body: bytes | None, visit: Visit) -> Verdict | Deferred[Verdict]:
        if body is None:
            return too_large(_MAX_FORM)
        try:
            form = parse_qs(body.decode("ascii"), encoding="utf-8", max_num_fields=10)
        except ValueError:
            form = {}
        given = form.get("password", [""])[0].encode()
        to = form.get("to", ["/"])[0].encode("utf-8")
        if not 0 < len(given) <= 4 * LONGEST:
            return self._form(visit, 401, "Give the password.", to)
        if wait := self._tries.begin(visit.address, visit.means.now()):
            return too_often(wait)
        return visit.means.in_thread(self._password.matches, given).addCallback(self._checked, visit, to)

    def _checked(self, matches: bool, visit: Visit, to: bytes) -> Verdict:
        if not matches:
            return self._form(visit, 401, "That is not the password.", to)
        self._tries.right(visit.address)
        ends = b"%d" % (int(visit.means.now()) + LASTS)
        value = ends + b"." + self._mark(visit, ends)
        return see_other(safe_return(to), [set_cookie(visit, self.cookie, value, LASTS)])

    # -- the cookie ----------------------------------------------------------------------------------------

    def _mark(self, visit: Visit, ends: bytes) -> bytes:
        return hmac.new(self._key, ends + b"\0" + visit.request.host.encode(), "sha256").hexdigest().encode()

    def _ends(self, visit: Visit) -> float:
        """When the cookie of a visitor ends; 0 if it is none of ours."""
        ends, _, mark = cookie(visit, self.cookie).partition(b".")
        if not (ends.isdigit() and len(ends) < 15 and hmac.compare_digest(mark, self._mark(visit, ends))):
            return 0
        return int(ends)
