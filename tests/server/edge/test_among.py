"""Tests for L{burrow.server.edge.among}: which of several agents has a request."""

from types import SimpleNamespace

import pytest

from burrow.http.headers import Headers
from burrow.server.edge.among import Among
from burrow.server.share import REST, Share


def request(cookie=b"", length=0):
    fields = [(b"Cookie", cookie)] if cookie else []
    return SimpleNamespace(headers=Headers(fields), length=length)


def test_request_is_open_at_one_agent_at_a_time():
    one, two = Share("one"), Share("two")
    among = Among(request(), "https")
    among.end()
    among.taken(one)
    among.taken(one)
    assert one.load == 1
    among.taken(two)
    assert (one.load, two.load) == (0, 1)
    among.end()
    among.end()
    assert (one.load, two.load) == (0, 0)


@pytest.mark.parametrize("code", ["refused", "timeout", "unknown-host", "certificate", "agent-away"])
def test_three_agents_may_get_what_nobody_has_seen(code):
    among = Among(request(), "https")
    assert not among.failed(code, 100.0)  # nobody has it
    for number in range(3):
        share = Share(str(number))
        among.taken(share)
        assert among.failed(code, 100.0) is (number < 2)
        assert share.rests_until == 100.0 + REST == 105.0


def test_no_other_gets_what_one_may_have_seen():
    for length, code in ((0, "failed"), (1, "refused"), (None, "refused")):
        among, share = Among(request(length=length), "https"), Share("one")
        among.taken(share)
        assert not among.failed(code, 100.0)
        assert (share.rests_until == 105.0) is (code == "refused")


@pytest.mark.parametrize(("scheme", "secure"), [("https", b"; Secure"), ("http", b"")])
def test_cookie_leads_back_to_the_same_agent(scheme, secure):
    among = Among(request(), scheme)
    assert among.cookie == b""
    among.taken(Share("one"))
    assert among.cookie == b""
    among.taken(Share("two", sticky=True))
    assert among.cookie == b"burrow-agent=two; Path=/; HttpOnly; SameSite=Lax" + secure
    among.taken(Share("one"))
    assert among.cookie == b""
    back = Among(request(b"a=b; burrow-agent=two"), scheme)
    back.taken(Share("two", sticky=True))
    assert back.cookie == b""
