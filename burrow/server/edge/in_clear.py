"""
What a request without TLS is answered at the TLS port. No I/O.

Apps behind a tunnel that know their public host, and not that their visitors use TLS, redirect to
C{http://HOST:PORT/}: with a port that is not the usual one, that is the TLS port. So who only asks for a page
is sent on to the same URL with https. Agents, and requests with a body, get a sentence: what they send in
clear by mistake is better noticed.
"""

from __future__ import annotations

import re

_TEXT = b"This port speaks HTTPS: write https:// in the URL. \r\n"
_ANSWER = (
    b"HTTP/1.1 %b\r\n%bContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" + _TEXT
)
_REFUSED = _ANSWER % (b"400 Bad Request", b"", len(_TEXT))
_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1\r\n")
_HOST = re.compile(
    rb"\r\nhost:[ \t]*((?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)[ \t]*(?=\r\n)", re.IGNORECASE
)
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def answer_in_clear(received: bytes) -> bytes:
    """
    An HTTP answer.

    @param received: what came, the beginning of an HTTP request perhaps.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    line, hosts = _LINE.match(head), _HOST.findall(head + b"\r\n")
    if not end or line is None or len(hosts) != 1 or _UPGRADE.search(head):
        return _REFUSED
    location = b"Location: https://%b%b\r\n" % (hosts[0], line[1])
    return _ANSWER % (b"308 Permanent Redirect", location, len(_TEXT))
