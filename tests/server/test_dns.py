"""Tests for L{burrow.server.dns}: whatever the resolver does, an answer or L{DnsFailed}."""

from twisted.internet import defer, error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSQueryTimeoutError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from burrow.server.dns import Dns, DnsFailed, Leads

APP = "app.example.org"


class Answers(SynchronousTestCase):
    def setUp(self):
        self.dns = Dns(MemoryReactorClock())
        self.dns._resolver = self

    def query(self, question):
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return succeed(([dns.RRHeader(APP, each.TYPE, payload=each) for each in self.answer], [], []))

    def leads(self, answer):
        self.answer = answer
        return Deferred.fromCoroutine(self.dns.leads(APP))

    def test_records(self):
        records = [dns.Record_CNAME(b"Shop.Example.COM."), dns.Record_A("192.0.2.1"), dns.Record_AAAA("::1")]
        expected = Leads({"shop.example.com"}, {"192.0.2.1", "::1"})
        self.assertEqual(self.successResultOf(self.leads(records)), expected)
        self.assertEqual(self.successResultOf(self.leads(DNSNameError())), Leads(set(), set()))

    def test_no_answer(self):
        for each in (
            DNSServerError(),
            DNSQueryTimeoutError(1),
            defer.TimeoutError(),
            error.ConnectionRefusedError(),
            error.ConnectionLost(),
            OSError(),
            ValueError(),
        ):
            why = self.failureResultOf(self.leads(each), DnsFailed).value
            self.assertIn(type(each).__name__, str(why))

    def test_what_nobody_expects_is_logged_once(self):
        for _ in range(3):
            self.failureResultOf(self.leads(KeyError("x")), DnsFailed)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_an_alias_that_is_no_text(self):
        self.failureResultOf(self.leads([dns.Record_CNAME(b"\xff\xfe.evil.example")]), DnsFailed)
