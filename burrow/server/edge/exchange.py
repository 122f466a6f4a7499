"""
One request and its answer: who answers it is decided, it is sent to the upstream, and its answer passed on.

An L{Exchange} is made for each request. How messages are framed on the visitor's connection is the matter of
that connection (L{burrow.server.edge.connection}): it passes on the body of the request as it comes, and is
told the answer. An HTTP/2 connection may have several exchanges at a time.

What an exchange does, in this order, unless it ends before::

    begin               the server answers by a page of its own, or takes the connection over (an agent's
                        WebSocket); or the request is routed
    waits               for the route, which may come later (--hold). No body is taken meanwhile
    the policy          of the tunnel, if it has one, answers, or changes the head; that may take time, too
    the head is sent    on a stream to the agent; then the body, as it comes
    the answer begins   within response_timeout of the head, of the last byte of the body that the upstream
                        took, or of the last interim answer; else the visitor gets a page
    the answer ends     or breaks: a begun answer is never continued by a page

Long because these steps share their state: each decides what may come next.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import StoreError, StreamGone
from burrow.http.body import chunk, last_chunk
from burrow.http.head import BadMessage
from burrow.http.headers import Fields
from burrow.http.request_head import IDEMPOTENT, RequestHead
from burrow.http.response_head import ResponseHead
from burrow.mux.pipe import PipeEnd
from burrow.policy.base import Policy
from burrow.policy.limits import too_large
from burrow.protocols.visits import Policies
from burrow.server.edge import pages
from burrow.server.edge.among import Among
from burrow.server.edge.context import Edge
from burrow.server.edge.failing import FAILURE_FIELD, Failing
from burrow.server.edge.gathering import CONTINUE, Gathering
from burrow.server.edge.hops import last_stop
from burrow.server.edge.policed import NO_RULES, REFUSING, REFUSING_HANDSHAKE, Policed, keep_own_host
from burrow.server.edge.responses import IAnswered, Responses
from burrow.server.edge.telling import answered, record_of
from burrow.server.route import IRoute, NoRoute
from burrow.traffic.record import Record


@implementer(IAnswered)
class Exchange:
    """
    See the module's docstring.

    @param connection: an L{IConnection<burrow.server.edge.connection.IConnection>}.
    @ivar request: the request's head. @ivar whole: whether its body has come to its end.
    @ivar answer: the head of the upstream's final answer, once the visitor is sent it.
    @ivar request_id: the value of X-Request-Id; empty until it is decided that a tunnel answers.
    @ivar record: what those who listen to the traffic are told of it; None if nobody did when it began.
    @ivar among: if agents share the name, who of them has it; else None.
    @ivar deadline: see L{burrow.server.edge.sweep.Deadlined}.
    """

    log = Logger()

    def __init__(self, edge: Edge, connection: Any, request: RequestHead) -> None:
        self.request = request
        self.whole = request.length == 0
        self.answer: ResponseHead | None = None
        self.deadline: float | None = None
        self._edge = edge
        self._connection = connection
        self.request_id = b""
        self.record: Record | None = None
        self._began: float | None = None
        self._over = False
        self._head = b""
        self._address = ("", "")
        self._routing: Deferred[IRoute] | None = None
        self._rerouted = False
        self._route: IRoute | None = None
        self._responses: Responses | None = None
        self._granted = 0
        self._failing: Failing | None = None
        self._policed: Policed | None = None
        self._policies: Policies | None = None  # by which that was decided
        self._refused = False
        self.among: Among | None = None
        self._gathering: Gathering | None = None

    @property
    def waits(self) -> bool:
        """Whether the request waits for its route, or for a rule that does not read its body."""
        return self._routing is not None and (self._gathering is None or self._gathering.over)

    @property
    def gathers(self) -> bool:
        """Whether its body is read by a rule, before there is a stream."""
        return self._gathering is not None

    @property
    def may_be_gone(self) -> bool:
        """See L{Asking<burrow.server.waiting.Asking>}."""
        ended: bool = self._connection.ended
        return ended

    @property
    def endless(self) -> bool:
        """Whether its answer has no end of its own: an event stream."""
        answer = self.answer
        return answer is not None and answer.headers.value(b"content-type").startswith(b"text/event-stream")

    # -- who answers --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Decide who answers, and send the request there."""
        request, connection = self.request, self._connection
        self._edge.sweep.add(self, self._edge.response_timeout)
        if request.passed_on is not None:  # all of this was decided for the same bytes on this connection
            self._find_route()
            return
        shown = connection.shown
        if shown is not None and shown.name != request.host and not shown.covers(request.host):
            self._page(pages.misdirected(request.host))
            return
        own = connection.own(request)
        if own is None:
            self._find_route()
        elif isinstance(own, pages.Page):
            self._page(own)
        else:
            self.stop()
            connection.hand_over(own)

    def _find_route(self) -> None:
        request, edge = self.request, self._edge
        rewritten = request.passed_on
        if rewritten is None:
            if page := last_stop(request, edge.forwarding):
                self._page(page)
                return
            rewritten = request.passed_on = self._connection.hop.rewrite(request)
        if self._began is None:
            self._began = edge.sweep.now()
            start, self._address, request_id = rewritten
            self.request_id = request_id = request_id or edge.request_ids.new()
            self._head = b"%b%b\r\n\r\n" % (start, request_id)
            if edge.traffic.listening and edge.traffic.wants(request.host):
                self.record = record_of(request, self.request_id, self._address, edge.domain)
                edge.traffic.begun(self.record)
        found = edge.find(request.host, self)
        if not isinstance(found, Deferred):
            self._send_head(found)
            return
        self._routing = found
        found.addCallbacks(self._routed, self._not_routed)

    def _routed(self, route: IRoute) -> None:
        self._routing = None
        if not self._over:
            self._begin_response_time()
            self._send_head(route)
            self._connection.advance()

    def _not_routed(self, reason: Failure) -> None:
        self._routing = None
        if self._over:
            return  # the visitor left
        if isinstance(reason.value, NoRoute):
            self._page(pages.no_route(self.request.host, reason.value.why))
        else:
            if not reason.check(StoreError):
                self.log.failure("a request could not be routed", reason)
            self._page(pages.store_away())
        self._connection.advance()

    # -- the request --------------------------------------------------------------------------------------

    def _send_head(self, route: IRoute) -> None:
        request, policies = self.request, route.policies
        if policies is not self._policies:
            if self._policed is not None:
                self._decide_anew()
            self._policies = policies
        policed, policy = self._policed, policies.usual
        if policed is None and policy is not None:
            policed = self._policed = self._police(policy)
            if (asked := policed.ask()) is not None:
                self._routing = asked.addCallback(lambda _: route)
                self._routing.addCallbacks(self._routed, self._not_routed)
                return
        if policed is not None:
            if policed.answer is not None:
                opens = request.upgrade and policed.answer.status < 300 and self._connection.only_switches
                self._page(pages.no_web_socket() if opens else policed.answer)
                return
            if self._gathering is not None and self._gathering.over:
                self._page(pages.answered(too_large(self._gathering.limit)))
                return
            self._head = policed.head(self._connection.hop, self.request_id)
            if policed.visit.part is not None:
                self._connection.use_part(policed.visit.part)
        try:
            responses = self._connection.stream_to(route, self._address)
        except StreamGone:
            self._page(pages.agent_away(request.host))
            return
        self._route, self._responses, route.requests = route, responses, route.requests + 1
        if route.share is not None:
            if self.among is None:
                self.among = Among(request, self._address[1])
            self.among.taken(route.share)
        if self.record is not None:
            self.record.tunnel, self.record.waited = route.name, self.record.now()
        responses.expect(self, request.method, whole=self.whole)
        responses.transport.write(self._head)
        if request.length != 0:
            self._granted = responses.granted
            if not (self.whole or request.headers.value(b"expect")):
                # With Expect the visitor waits for what the upstream says to it.
                self._connection.body_awaited()
        if self._gathering is not None:
            gathering, self._gathering = self._gathering, None
            self.send_body(*gathering.take())

    def _decide_anew(self) -> None:
        """Another tunnel or agent gets the request: what the rules of the former one said is void."""
        if self._policed is not None:
            self._policed.ended(0)
        self._failing = self._policed = self._policies = None
        self._connection.use_part(b"")
        rewritten = self.request.passed_on
        assert rewritten is not None
        self._head = b"%b%b\r\n\r\n" % (rewritten[0], self.request_id)  # as before any policy

    def _police(self, policy: Policy) -> Policed:
        means, shown = self._edge.means, self._connection.shown
        return Policed(policy, self.request, self._address, means, self._read_body, shown)

    def _read_body(self, limit: int) -> Deferred[bytes | None]:
        """For a rule: see L{Visit.read_body}."""
        if self._gathering is not None:
            return self._gathering.again(limit)
        if self.whole:
            return succeed(b"")
        assert self._policed is not None  # which asks
        self._gathering = Gathering(
            self._edge.gathered, self._policed.visit.address, limit, self.request.length
        )
        if not self._gathering.over:
            if self.request.headers.value(b"expect"):
                self._connection.answer_interim(CONTINUE)
            self._connection.body_awaited()
        return self._gathering.done

    def send_body(self, data: bytes, trailers: Fields | None = None) -> None:
        """
        Some of the request's body has come.

        @param trailers: the fields behind the body, if this is its end.
        """
        if self._gathering is not None:
            self.whole = trailers is not None
            self._gathering.add(data, trailers)
            return
        if self._policed is not None and (limit := self._policed.exceeded(len(data))) is not None:
            self._page(pages.answered(too_large(limit)), linger=True)
            return
        if self.record is not None:
            self.record.received += len(data)
        chunked = self.request.length is None
        out = chunk(data) if data and chunked else data
        if trailers is not None:
            self.whole = True
            if chunked:
                out += last_chunk(trailers)
        if self._responses is not None:
            self._responses.whole = self.whole
            if out:
                self._responses.transport.write(out)
        if self.deadline is not None:
            self._begin_response_time()

    # -- the time for the answer --------------------------------------------------------------------------

    def _begin_response_time(self) -> None:
        """The upstream has response_timeout from now on to begin its answer, or to take more of the body."""
        self._edge.sweep.add(self, self._edge.response_timeout)
        if self._responses is not None:
            self._granted = self._responses.granted

    def timed_out(self) -> None:
        """Called by the sweep: no answer has begun. How long a route is waited for is not decided here."""
        if self._routing is not None or self._upstream_takes():
            self._edge.sweep.add(self, self._edge.response_timeout)
        else:
            seconds = f"{self._edge.response_timeout:g} seconds"
            text = f"The upstream has not begun its answer within {seconds}."
            self._page(pages.upstream_failed("timeout", text), linger=True)

    def _upstream_takes(self) -> bool:
        """Whether the agent has passed on some of the request since that was asked last."""
        if self._responses is None or self.request.length == 0:
            return False
        before, self._granted = self._granted, self._responses.granted
        return self._granted > before

    # -- the answer ---------------------------------------------------------------------------------------

    def answer_head(self, head: ResponseHead) -> None:
        """See L{IAnswered}."""
        if head.status < 200:
            if head.status == 101:
                self._refuses_host(101)
                self._connection.answer_switch(self._changed(head))
                if self.record is not None:
                    answered(self._edge.traffic, self.record, head)
            else:
                self._connection.answer_interim(self._changed(head))
                self._begin_response_time()  # the upstream works on it (RFC 2518 section 10.1)
        elif FAILURE_FIELD in head.headers and (failing := Failing.of(head)):
            self._failing = failing
        elif (
            head.status in REFUSING or self._policed is not None or self.request.upgrade
        ) and self._refuses_host(head.status):
            self._refused = True  # once this answer is over, the request is sent again
        elif self.request.upgrade and self._connection.only_switches and head.status < 300:
            raise BadMessage(502, "it opens no WebSocket")
        else:
            self._edge.sweep.discard(self)
            self.answer = head
            if self.record is not None:
                answered(self._edge.traffic, self.record, head)
            self._connection.answer(head if self._policed is None else self._policed.final(head))

    def _changed(self, head: ResponseHead) -> ResponseHead:
        """An answer's head after the tunnel's policy."""
        return head if self._policed is None else self._policed.changed(head)

    def _refuses_host(self, status: int) -> bool:
        """
        Whether an answer of this status may refuse the visitor's Host alone: then the upstream is asked for
        its own. If it answers to that, all requests to the tunnel have it from then on; or all WebSocket
        handshakes, if it was one.

        @param status: 0 if what came is no answer.
        """
        route, policed, handshake = self._route, self._policed, bool(self.request.upgrade)
        assert route is not None
        rule = route.policies.own_host
        if rule is None:
            return False
        refused = status in (REFUSING_HANDSHAKE if handshake else REFUSING)
        if policed is not None and policed.own_host:
            if not refused:
                keep_own_host(route, handshakes=handshake)
            return False
        if not (refused and self._only_asks) or (policed is not None and rule.holds(policed.visit)):
            return False
        if self._policed is None:
            self._policed = self._police(NO_RULES)
        self._policed.try_own_host(rule)
        return True

    @property
    def _only_asks(self) -> bool:
        """Whether the request may be sent twice."""
        return self.request.method in IDEMPOTENT and self.request.length == 0

    @property
    def ends(self) -> bool:
        """Whether the end of the answer follows what of its body is passed on now, in this call."""
        responses = self._responses
        return self._over or (responses is not None and responses.has_end)

    def answer_body(self, data: bytes) -> None:
        """See L{IAnswered}."""
        if self._refused:
            return
        if self._failing is not None:
            self._failing.add(data)
            return
        if self.record is not None:
            self.record.sent += len(data)
        if self._policed is not None:
            data = self._policed.body(data)
        if data:
            self._connection.answer_data(data)

    def answer_end(self, trailers: Fields) -> None:
        """See L{IAnswered}."""
        if self._refused:
            self._ask_again()
            return
        if self._failing is not None:
            code = self._failing.code
            if self.among is not None and self.among.failed(code, self._edge.sweep.now()) and self._move():
                return
            self._page(self._failing.page(self.request.host))
            return
        self._over = True
        if self._policed is not None and (rest := self._policed.body_end()):
            self._connection.answer_data(rest)
        if self.answer is not None:
            self._ended(self.answer.status)
        self._connection.answer_end(trailers)

    def _move(self) -> bool:
        """Send the request to another agent that shares the name. @return: whether there is one now."""
        found = self._edge.find(self.request.host, self)
        if isinstance(found, Deferred):
            found.addErrback(lambda reason: None)
            found.cancel()
            return False
        if found is self._route:
            return False
        self._decide_anew()
        self._begin_response_time()
        self._send_head(found)
        return True

    def answer_switched(self, end: PipeEnd) -> None:
        """See L{IAnswered}."""
        self._over = True
        self._ended(101)
        self._leave_waiting()
        self._connection.switch(end)

    def answer_lost(self, error: str) -> None:
        """See L{IAnswered}."""
        responses, self._responses = self._responses, None
        assert responses is not None
        if self.answer is not None:
            self._ended(0, f"the upstream failed: {error}")
            self._connection.break_off()
            return
        self._failing = None
        if self._refused:
            self._ask_again()
        else:
            self._unanswered(responses, error)
        self._connection.advance()

    def _ask_again(self) -> None:
        self._refused = False
        self._begin_response_time()
        assert self._route is not None
        self._send_head(self._route)

    def _unanswered(self, responses: Responses, error: str) -> None:
        """The stream ended, and nothing of the answer had come: ask again, where asking is all it was."""
        request, route = self.request, self._route
        assert route is not None
        only_asks = self._only_asks
        if only_asks and not self._rerouted and route.may_have_moved:
            # The agent went with the request, or may have, on another node: let its successor answer.
            self._rerouted = True
            self._find_route()
        elif not route.alive:
            self._page(pages.agent_away(request.host))
        elif only_asks and responses.used:
            # The upstream closed a kept connection while this request was on its way to it.
            self._find_route()
        elif request.upgrade and self._refuses_host(0):
            self._ask_again()
        else:
            self._page(pages.upstream_failed("failed", f"The upstream failed: {error}."))

    # -- the end ------------------------------------------------------------------------------------------

    def _page(self, page: pages.Page, *, linger: bool = False) -> None:
        self.stop(page)
        self._connection.answer_page(page, linger=linger)

    def stop(self, page: pages.Page | None = None) -> None:
        """
        The exchange is over: the visitor left, was answered, or wants no answer. Nothing more is told.

        @param page: is its answer.
        """
        self._over = True
        if page is None:
            self._ended(0, "the visitor left")
        elif self._began is not None:
            if self.record is not None and self.answer is None:
                self.record.status, self.record.reason = page.status, page.code
                self._edge.traffic.answered(self.record)
            self._ended(page.status, page.text)
        self._leave_waiting()

    def _ended(self, status: int, error: str = "") -> None:
        """Count it, and tell its end, which after a 101 comes later. C{status}: 0 if not answered whole."""
        if self.among is not None:
            self.among.end()
        began, self._began = self._began, None
        if began is not None:
            self._edge.counts.ended(status, self._edge.sweep.now() - began)
            if self._policed is not None:
                self._policed.ended(status)
            if self.record is not None and status != 101:
                self._edge.traffic.ended(self.record, error)

    def _leave_waiting(self) -> None:
        """Nothing is waited for any more."""
        routing, self._routing = self._routing, None
        if routing is not None:
            routing.cancel()
        if self._gathering is not None:
            self._gathering.drop()
        if self.deadline is not None:
            self._edge.sweep.discard(self)
