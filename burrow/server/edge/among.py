"""One request to a name that several agents share: who of them has it, and whether another may get it."""

from __future__ import annotations

from burrow.http.request_head import RequestHead
from burrow.server.edge.pages import AGENT_AWAY
from burrow.server.share import REST, Share
from burrow.server.sharing import COOKIE, wanted

MOST = 3
"""Agents that get one request, one after the other, at most."""

_NOT_SENT = ("refused", "timeout", "unknown-host", "certificate", AGENT_AWAY)
"""Failures of which it is certain that no service has seen the request."""


class Among:
    """
    @param request: the request. @param scheme: how the visitor came.
    @ivar cookie: the value of the field Set-Cookie that leads the visitor to the same agent; empty for none.
    """

    def __init__(self, request: RequestHead, scheme: str) -> None:
        self._request = request
        self._secure = b"; Secure" if scheme == "https" else b""
        self._share: Share | None = None
        self._tries = 0
        self.cookie = b""

    def taken(self, share: Share) -> None:
        """An agent has the request now: it is counted as open there."""
        if share is not self._share:
            self.end()
            self._share = share
            share.load += 1
            self._tries += 1
        self.cookie = b""
        if share.sticky and wanted(self._request) != share.key:
            attributes = b"; Path=/; HttpOnly; SameSite=Lax"
            self.cookie = b"%b=%b%b%b" % (COOKIE, share.key.encode(), attributes, self._secure)

    def end(self) -> None:
        """The request is over there."""
        share, self._share = self._share, None
        if share is not None:
            share.load -= 1

    def failed(self, code: str, now: float) -> bool:
        """
        The agent could not pass the request on. It gets no others for a while.

        @param code: see L{UpstreamFailed<burrow.protocols.upstream.UpstreamFailed>}. @param now: seconds.
        @return: whether another agent may get the request.
        """
        if code not in _NOT_SENT or self._share is None:
            return False
        self._share.rests_until = now + REST
        return self._request.length == 0 and self._tries < MOST
