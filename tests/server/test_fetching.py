"""What the server fetches for tunnels, and from where."""

import json

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers

from burrow.policy.means import FetchFailed
from burrow.server.fetching import MAX_ANSWER, MOST, MOST_OF_ONE, TIMEOUT, Fetching, _Checked, is_public

URL = "https://id.example/keys"


class _Response:
    version = (b"HTTP", 1, 1)
    phrase = b""

    def __init__(self, body, code=200, headers=()):
        self.code, self.headers, self.body = code, Headers(dict(headers)), body
        self.length = len(body)
        self.previousResponse = None

    def deliverBody(self, protocol):
        from twisted.python.failure import Failure

        protocol.makeConnection(None)
        for start in range(0, len(self.body), 65536):
            protocol.dataReceived(self.body[start : start + 65536])
        protocol.connectionLost(Failure(ResponseDone()))


class _Agent:
    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def request(self, method, url, headers=None, body=None):
        self.asked.append((method, url, headers, body))
        return self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)


def fetching(answer, *, private=False):
    clock = Clock()
    agent = _Agent(answer)
    return Fetching(clock, None, private=private, agent=agent), agent, clock


def result(asked):
    results = []
    asked.addBoth(results.append)
    assert results, "it waits"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def test_json_is_fetched_and_forms_are_sent():
    fetch, agent, _ = fetching(_Response(b'{"a": 1}'))
    assert result(fetch.fetch(URL, None, None)) == {"a": 1}
    assert result(fetch.fetch(URL, {"code": "x"}, {"Authorization": "Basic y"})) == {"a": 1}
    assert [method for method, *_ in agent.asked] == [b"GET", b"POST"]
    assert agent.asked[1][2].getRawHeaders("Authorization") == ["Basic y"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_Response(b"no json"), "no JSON"),
        (_Response(b"[" * 100_000), "no JSON"),
        (_Response(json.dumps("x" * MAX_ANSWER).encode()), "more than 1024 KiB"),
        (_Response(b"{}", 404), "status 404"),
        (_Response(b"{}", 302, {b"Location": [b"http://127.0.0.1/"]}.items()), "status 302"),
    ],
)
def test_what_is_no_answer(answer, words):
    fetch, agent, _ = fetching(answer)
    with pytest.raises(FetchFailed) as caught:
        result(fetch.fetch(URL, None, None))
    assert words in str(caught.value)
    assert len(agent.asked) == 1


def test_what_cannot_be_reached():
    for error in (ConnectionRefusedError(), ResponseFailed([])):
        fetch, _, _ = fetching(fail(error))
        with pytest.raises(FetchFailed, match="cannot be reached"):
            result(fetch.fetch(URL, None, None))


def test_questions_are_bounded_in_time_and_number():
    fetch, agent, clock = fetching(Deferred())
    failures = []
    hosts = [f"https://id.example{number}/" for number in range(MOST // MOST_OF_ONE)]
    for number in range(MOST):
        agent.answer = Deferred()
        asked = fetch.fetch(hosts[number % len(hosts)], None, None)
        asked.addErrback(lambda reason: failures.append(str(reason.value)))
    with pytest.raises(FetchFailed, match="too much"):
        result(fetch.fetch(URL, None, None))
    clock.advance(TIMEOUT)
    assert failures == [f"{host} does not answer" for host in hosts] * MOST_OF_ONE
    assert not fetch._asking
    agent.answer = _Response(b"1")
    assert result(fetch.fetch(URL, None, None)) == 1


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("https://t{}.evil.example:{}/", "https://a.example/"),
        ("https://10.0.0.1:{1}/{0}", "https://11.0.0.1/"),
        ("https://EVIL{0}.Evil.Example.:{1}/", "https://example/"),
    ],
)
def test_who_does_not_answer_does_not_keep_others_from_being_asked(one, another):
    fetch, agent, _ = fetching(Deferred())
    for number in range(MOST_OF_ONE):
        agent.answer = Deferred()
        fetch.fetch(one.format(number, 400 + number), None, None)
    with pytest.raises(FetchFailed, match="too much"):
        result(fetch.fetch(one.format("", 443), None, None))
    agent.answer = _Response(b"1")
    assert result(fetch.fetch(another, None, None)) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example:99999/",
        "https://id.example:x/",
        "https://[::1/",
        "https://",
        "https://a b/",
        "https://\u00e4.example/\ud800",
        "https://" + "a" * 300 + "/",
    ],
)
def test_urls_that_are_none(url):
    reactor = _Reactor("8.8.8.8")
    with pytest.raises(FetchFailed):
        result(Fetching(reactor, None, private=True).fetch(url, None, None))
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize("address", ["2606:4700::1111", "8.8.8.8"])
def test_a_provider_may_be_an_address(address):
    reactor = _Reactor(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(FetchFailed, match="cannot be reached"):
        result(Fetching(reactor, None, private=False).fetch(f"https://{host}/keys", None, None))
    assert reactor.connected == [address]
    fetch, agent, _ = fetching(_Response(b"1"))
    assert result(fetch.fetch(f"https://{host}:8443/keys?a=b", {"code": "x"}, None)) == 1
    assert agent.asked[0][:2] == (b"POST", f"https://{host}:8443/keys?a=b".encode())


def test_no_cookies_are_kept():
    fetch, agent, _ = fetching(_Response(b"1", headers={b"Set-Cookie": [b"a=b; Path=/"]}.items()))
    for _ in range(2):
        assert result(fetch.fetch(URL, None, None)) == 1
    assert [headers.getRawHeaders("Cookie") for _, _, headers, _ in agent.asked] == [None, None]


def test_what_is_no_error_of_the_network_is_told_like_one():
    fetch, _, _ = fetching(fail(OverflowError("port must be 0-65535")))
    with pytest.raises(FetchFailed, match="port must be"):
        result(fetch.fetch(URL, None, None))


@pytest.mark.parametrize("url", ["http://id.example/", "ftp://id.example/", "file:///etc/passwd", ""])
def test_without_tls_nothing_is_asked(url):
    fetch, agent, _ = fetching(_Response(b"1"))
    with pytest.raises(FetchFailed, match="no https:// URL"):
        result(fetch.fetch(url, None, None))
    assert agent.asked == []
    assert result(fetching(_Response(b"1"), private=True)[0].fetch("http://id.example/", None, None)) == 1


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("localhost", False),
    ],
)
def test_public_addresses(host, public):
    assert is_public(host) == public


class _Reactor(Clock):
    """Knows one name, and connects nowhere."""

    def __init__(self, *found):
        super().__init__()
        self.found, self.connected = found, []

    @property
    def nameResolver(self):
        return self

    def resolveHostName(self, receiver, host, port):
        receiver.resolutionBegan(None)
        for each in self.found:
            receiver.addressResolved(type("Address", (), {"host": each}))
        receiver.resolutionComplete()

    def connectTCP(self, host, port, factory, **given):
        self.connected.append(host)
        factory.clientConnectionFailed(None, _failure())

    def connected_to(self, *, private=False):
        from twisted.internet.protocol import Factory

        errors = []
        _Checked(self, "id.example", 443, private=private).connect(Factory()).addErrback(errors.append)
        return self.connected, errors[0].value


def _failure():
    from twisted.python.failure import Failure

    return Failure(ConnectionRefusedError())


def test_private_addresses_are_not_connected_to():
    connected, error = _Reactor("127.0.0.1", "10.0.0.1").connected_to()
    assert connected == []
    assert "--private-providers" in str(error)
    assert _Reactor("127.0.0.1", "8.8.8.8", "::1").connected_to()[0] == ["8.8.8.8"]
    assert _Reactor("127.0.0.1").connected_to(private=True)[0] == ["127.0.0.1"]
    connected, error = _Reactor().connected_to()
    assert "no address" in str(error)
