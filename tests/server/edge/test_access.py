"""Who may visit, at the edge: a visitor, a tunnel by its options and its upstream, without sockets."""

import json
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred

from burrow.addresses import parse_network
from burrow.errors import BadOption, ConfigError
from burrow.policy.means import Busy, Means
from burrow.policy.share import public_half, share_link
from burrow.protocols.files.kind import FilesProtocol
from burrow.protocols.http import HttpProtocol
from burrow.protocols.options import read_options, sent_options
from burrow.protocols.visits import UNREADABLE, policies
from burrow.server.edge.gathering import Gathering, Room
from burrow.server.given import read_given
from burrow.server.nodes.links import Remote
from burrow.server.nodes.records import Lease
from burrow.wire.pieces import SMALL
from tests.policy.authorities import CLIENT, Signed
from tests.policy.test_mutual import Shown
from tests.policy.test_signatures import BODY, github
from tests.policy.visiting import NOW, outcome
from tests.server.edge.edges import PEER, Exchange, Peer
from tests.server.edge.test_http2 import Connection as Http2Connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
KIND = HttpProtocol()


def tunnel(given, *, kind=KIND, **more):
    """An exchange whose tunnel has options, as an agent sends them."""
    options = read_options(kind.options, given)
    kind.check_options(options)
    options = read_given(kind, sent_options(kind.options, options, b"salt of the agent"))
    exchange = Exchange(**more)
    exchange.policies = policies(kind, options)
    exchange.edge.means = Means(lambda: NOW)
    return exchange


def request(fields=(), target="/", *, upgrade=False, method="GET", body=b""):
    lines = [f"{method} {target} HTTP/1.1", "Host: t.example.com"]
    lines += [f"{name}: {value}" for name, value in fields]
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Origin: https://t.example.com"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def basic(text):
    return ("Authorization", "Basic " + b64encode(text.encode()).decode())


SHARED = share_link(KEY, "https://t.example.com/", NOW + 60).partition("=")[2]
CASES = {
    "basic": ({"basic-auth": ["a:b"]}, [basic("a:b")], [basic("a:c")], 401),
    "bearer": (
        {"bearer-token": ["a token of twenty".replace(" ", "-")]},
        [("Authorization", "Bearer a-token-of-twenty")],
        [("Authorization", "Bearer a-token-of-thirty")],
        401,
    ),
    "share": (
        {"share-key": str(public_half(KEY))},
        [("Cookie", f"__Host-burrow-share={SHARED}")],
        [("Cookie", f"__Host-burrow-share={SHARED[:-1]}")],
        401,
    ),
    "allow": ({"allow": [PEER]}, [], None, 403),
    "deny": ({"deny": ["10.0.0.0/8"]}, [], None, 403),
}


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("kind", [KIND, FilesProtocol()])
@pytest.mark.parametrize("case", CASES)
def test_who_is_kept_out_never_reaches_the_upstream(case, upgrade, kind):
    given, right, wrong, status = CASES[case]
    for fields in (wrong, []):
        peer = PEER if wrong else "10.1.2.3"
        exchange = tunnel(given, kind=kind, peer=peer)
        exchange.ask(request(fields or [], upgrade=upgrade))
        assert exchange.status == status
        assert exchange.streams == []
    exchange = tunnel(given, kind=kind)
    got = exchange.ask(request(right, upgrade=upgrade))
    assert got.startswith(b"GET / HTTP/1.1\r\nHost: t.example.com\r\n")
    assert b"uthorization" not in got
    assert b"Cookie" not in got
    assert (b"Upgrade: websocket" in got) == upgrade
    assert exchange.status == 0


def test_addresses_are_the_visitors_behind_a_trusted_proxy():
    for visitor, status in (("192.0.2.9", 0), ("198.51.100.9", 403)):
        exchange = tunnel({"allow": ["192.0.2.0/24"]}, trusted=[parse_network(PEER)])
        exchange.ask(request([("X-Forwarded-For", visitor)]))
        assert exchange.status == status
    exchange = tunnel({"allow": ["192.0.2.0/24"]})
    exchange.ask(request([("X-Forwarded-For", "192.0.2.9")]))
    assert exchange.status == 403, "nobody else is believed"


def test_one_connection_may_show_it_late():
    exchange = tunnel({"basic-auth": ["a:b"]})
    for _ in range(3):
        exchange.ask(request())
        assert exchange.status == 401
        exchange.visitor.clear()
    exchange.ask(request([basic("a:b")]))
    assert exchange.answer(OK).startswith(b"HTTP/1.1 200 OK")
    exchange.visitor.clear()
    exchange.ask(request())
    assert exchange.status == 401
    assert len(exchange.streams) == 1


@pytest.mark.parametrize("name", ["Burrow-User", "burrow_user_email", "Burrow.User.Groups", "BURROW-USERS"])
def test_identity_cannot_be_forged(name):
    for given in ({}, {"basic-auth": ["a:b"]}):
        exchange = tunnel(given)
        got = exchange.ask(request([basic("a:b"), (name, "root"), ("Connection", "Burrow-User")]))
        assert b"root" not in got
        assert (b"\r\nBurrow-User: a\r\n" in got) == bool(given)


@pytest.mark.parametrize("case", CASES)
def test_by_http2_too(case):
    given, right, wrong, status = CASES[case]
    for fields in (wrong, []):
        edge = tunnel(given, peer=PEER)
        visitor = Connection(edge, peer=PEER if wrong else "10.1.2.3")
        visitor.ask(1, b"GET", b"/", *lowered(fields or []))
        assert visitor.status() == status
        assert edge.streams == []
    edge = tunnel(given)
    Connection(edge, peer=PEER).ask(1, b"GET", b"/", *lowered(right))
    assert edge.upstream.startswith(b"GET / HTTP/1.1\r\nHost: t.example.com\r\n")
    assert b"uthorization" not in edge.upstream
    assert b"cookie" not in edge.upstream


class Connection(Http2Connection):
    """A visitor by HTTP/2. @param peer: its address."""

    def __init__(self, edge, peer=PEER):
        super().__init__(edge)
        self.protocol.hop = type(self.protocol.hop)(edge.edge.forwarding, Peer(peer), "https")


def lowered(fields):
    return [(name.lower().encode(), value.encode()) for name, value in fields]


# -- certificates --------------------------------------------------------------------------------------------

CA = Signed("ca", ca=True)
SHOWN = {
    "right": (Shown(Signed("alice", CA, usage=CLIENT), name="t.example.com"), 0),
    "none": (Shown(name="t.example.com"), 401),
    "of another ca": (Shown(Signed("alice", Signed("ca", ca=True)), name="t.example.com"), 401),
    "over": (Shown(Signed("alice", CA, begins=-3, ends=-1), name="t.example.com"), 401),
    "for another host": (Shown(Signed("alice", CA, usage=CLIENT), name="u.example.com", covers=True), 421),
    "not asked": (Shown(name="t.example.com", asked=False), 421),
    "no tls": (None, 401),
}


@pytest.mark.parametrize("way", ["http/1.1", "websocket", "http/2"])
@pytest.mark.parametrize("kind", [KIND, FilesProtocol()])
@pytest.mark.parametrize("case", SHOWN)
def test_by_a_certificate(case, kind, way):
    shown, status = SHOWN[case]
    exchange = tunnel({"client-ca": CA.pem}, kind=kind)
    forged = [("Burrow-User", "root"), ("burrow_user_certificate_subject", "CN=root")]
    if way == "http/2":
        visitor = Connection(exchange)
        visitor.protocol.shown = shown
        visitor.ask(1, b"GET", b"/", *lowered(forged))
        assert not status or visitor.status() == status
    else:
        exchange.visitor.protocol.shown = shown
        exchange.ask(request(forged, upgrade=way == "websocket"))
        assert exchange.status == status
    got = exchange.upstream
    assert bool(got) == (status == 0)
    assert b"root" not in got
    if got:
        assert b"\r\nBurrow-User: alice\r\n" in got
        assert b"\r\nBurrow-User-Certificate-Subject: CN=alice\r\n" in got


@pytest.mark.parametrize("case", SHOWN)
def test_a_certificate_or_a_token(case):
    """One door is enough; who comes by another is told nothing of connections."""
    for fields, status in (([], SHOWN[case][1]), ([("Authorization", "Bearer " + "t" * 20)], 0)):
        exchange = tunnel({"client-ca": CA.pem, "bearer-token": ["t" * 20]})
        exchange.visitor.protocol.shown = SHOWN[case][0]
        exchange.ask(request(fields))
        assert exchange.status == status
        assert b"uthorization" not in exchange.upstream


def test_a_connection_for_another_host_is_over_after_it_was_sent_away():
    exchange = tunnel({"client-ca": CA.pem})
    exchange.visitor.protocol.shown = SHOWN["not asked"][0]
    exchange.ask(request())
    assert exchange.status == 421
    assert b"\r\nConnection: close\r\n" in exchange.visitor.value()
    assert exchange.gone(exchange.visitor)


# -- signed bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_a_signed_body_by_http2(right, told):
    edge = tunnel({"verify": ["github=s"]})
    visitor = Connection(edge)
    fields = lowered(github() if right else github(key="x"))
    fields += [(b"content-length", b"%d" % len(BODY))] if told else []
    visitor.ask(1, b"POST", b"/", *fields, body=BODY[:3], end=False)
    assert edge.streams == []
    visitor.client.send_data(1, BODY[3:], end_stream=True)
    visitor.pump()
    if right:
        assert BODY in edge.upstream
        edge.answer(OK)
        visitor.pump()
    else:
        assert edge.streams == []
    assert visitor.status() == (200 if right else 401)
    assert edge.edge.gathered.used == 0


# -- bodies that are read before -----------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_signed_body_comes_whole_to_the_upstream(step, chunked):
    exchange = tunnel({"verify": ["github=s"]})
    asked = request(github(), method="POST", body=BODY)
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n%x\r\n%b\r\n0\r\nX-T: 1\r\n\r\n" % (
            len(BODY),
            BODY,
        )
        asked = asked[: asked.index(b"Content-Length")] + framed
    for _ in range(3):
        exchange.ask(asked[:-1], step)
        assert exchange.streams == [] or exchange.streams[-1].value() == b""
        exchange.ask(asked[-1:])
        got = exchange.streams[-1].value()
        assert BODY in got
        assert got.count(b"HTTP/1.1") == 1
        assert got.endswith(b"0\r\nX-T: 1\r\n\r\n" if chunked else b"\r\n\r\n" + BODY)
        assert exchange.answer(OK).startswith(b"HTTP/1.1 200 OK")
        exchange.visitor.clear()
        exchange.streams[-1].clear()
    assert exchange.edge.gathered.used == 0


def test_what_comes_behind_a_signed_body_waits():
    exchange = tunnel({"verify": ["github=s"]})
    exchange.ask(request(github(), method="POST", body=BODY) * 2)
    assert exchange.upstream.count(b"POST") == 1
    exchange.answer(OK)
    assert exchange.upstream.count(b"POST") == 2


@pytest.mark.parametrize("fields", [github(key="x"), []])
def test_a_body_that_is_not_signed_right_does_not(fields):
    exchange = tunnel({"verify": ["github=s"]})
    exchange.ask(request(fields, method="POST", body=BODY))
    assert exchange.status == 401
    assert exchange.streams == []
    assert exchange.edge.gathered.used == 0


@pytest.mark.parametrize("told", [False, True])
def test_a_body_that_is_too_large_is_not_kept(told):
    exchange = tunnel({"verify": ["github=s"]})
    body = b"x" * (1024 * 1024 + 1)
    asked = request(github(body), method="POST", body=body)
    if told:
        exchange.ask(asked[: -len(body)])
    else:
        exchange.ask(
            asked.replace(b"Content-Length: 1048577", b"Transfer-Encoding: chunked").partition(body)[0]
        )
        for start in range(0, len(body), 65536):
            piece = body[start : start + 65536]
            exchange.ask(b"%x\r\n%b\r\n" % (len(piece), piece))
    assert exchange.status == 413
    assert exchange.visitor.value().count(b"HTTP/1.1") == 1
    assert exchange.streams == []
    assert exchange.edge.gathered.used == 0


def test_a_sender_that_waits_is_told_to_send():
    exchange = tunnel({"verify": ["github=s"]})
    asked = request([*github(), ("Expect", "100-continue")], method="POST", body=BODY)
    exchange.ask(asked[: -len(BODY)])
    assert exchange.visitor.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    got = exchange.ask(BODY)
    assert b"Expect" not in got
    assert got.endswith(BODY)


def test_all_bodies_together_are_bounded():
    exchange = tunnel({"verify": ["github=s"]})
    exchange.edge.gathered = Room(80)
    exchange.ask(request(github(), method="POST", body=BODY))
    assert exchange.status == 503
    assert exchange.streams == []
    assert exchange.edge.gathered.used == 0


def test_bodies_of_one_address_leave_room_for_others():
    room, others = Room(80), [f"192.0.2.{number}" for number in range(9)]
    held = [Gathering(room, f"2001:db8::{number}", 8, 8) for number in range(3)]
    for each in held:
        each.add(b"123456", None)
    assert [each.over for each in held] == [False, True, True], "one network of IPv6 has an eighth"
    with pytest.raises(Busy):
        outcome(held[1].done)
    rest = [Gathering(room, address, 8, None) for address in others]
    for each in rest:
        each.add(b"12345678", None)
    assert [each.over for each in rest] == [False] * 9
    for each in held + rest:
        each.drop()
    assert room.used == 0
    assert not room._of


def test_a_sender_that_leaves_leaves_nothing():
    exchange = tunnel({"verify": ["github=s"]})
    exchange.ask(request(github(), method="POST", body=BODY)[:-3])
    assert exchange.edge.gathered.used == len(BODY) - 3
    exchange.visitor.protocol.connectionLost()
    assert exchange.edge.gathered.used == 0
    assert exchange.streams == []


def test_a_visitor_who_leaves_while_its_password_is_checked():
    exchange, waits = tunnel({"basic-auth": ["a:b"]}), Deferred()
    exchange.edge.means = Means(lambda: NOW, lambda *work: waits)
    exchange.ask(request([basic("a:b")]))
    assert exchange.status == 0
    exchange.visitor.protocol.connectionLost()
    assert exchange.streams == []


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"jwt-issuer": "https://x"}, "--jwt-issuer goes with --jwt-audience"),
        ({"jwks-url": "https://x"}, "--jwks-url goes with --jwt-issuer"),
        ({"jwt-issuer": "x"}, "write a URL"),
        ({"jwt-issuer": "https://a:b@x"}, "write a URL"),
        ({"oidc-issuer": "https://x", "oidc-client": "a", "oidc-secret": "b"}, "goes with --oidc-allow"),
        ({"oidc-secret": "b"}, "--oidc-secret goes with --oidc-issuer"),
        ({"pass-preflights": True}, "--pass-preflights is for tunnels that ask who visits"),
        ({"pass-credentials": True, "allow": ["10.0.0.1"]}, "--pass-credentials is for tunnels that ask"),
        ({"basic-auth": ["a:b", "a:c"]}, "--basic-auth has the user a twice"),
        ({"bearer-token": [f"a-token-of-twenty-{n}" for n in range(21)]}, "21 times: 20 are possible"),
        ({"share-links": True, "share-key": str(public_half(KEY))}, "leave one of them out"),
        ({"allow": ["10.0.0.1"], "deny": ["10.0.0.0/8"]}, "refuses all of --allow"),
        ({"private": True, "password": "x"}, "--password is for visitors of a public URL"),
        ({"private": True, "allow": ["10.0.0.1"]}, "--allow is for visitors of a public URL"),
        ({"private": True, "client-ca": CA.pem}, "--client-ca is for visitors of a public URL"),
        ({"password": "x" * 300}, "password is not possible: write a password"),
    ],
)
def test_options_that_are_not_possible(given, words):
    for kind in (KIND, FilesProtocol()):
        with pytest.raises(ConfigError) as caught:
            kind.check_options(read_options(kind.options, given))
        assert words in str(caught.value)
        assert "xxx" not in str(caught.value), "secrets are not shown"


@pytest.mark.parametrize("given", [{"password": "p"}, {"basic-auth": ["a:b"]}, {"bearer-token": ["t" * 20]}])
def test_a_server_takes_hashes_alone(given):
    with pytest.raises(BadOption, match="was not hashed") as caught:
        read_given(KIND, given)
    assert "ttt" not in str(caught.value)
    options = read_options(KIND.options, given)
    sent = sent_options(KIND.options, options, b"salt of the agent")
    kept = sent_options(KIND.options, read_given(KIND, sent))
    assert kept == sent, "what other nodes read in the lease"


def test_another_node_knows_it_by_the_lease_alone():
    sent = sent_options(
        KIND.options, read_options(KIND.options, {"basic-auth": ["a:b"]}), b"salt of the agent"
    )
    kept = json.dumps(sent_options(KIND.options, read_given(KIND, sent)))
    route = Remote(Lease("t", "n", "http", None, 0, "token", kept), KIND, None, None, 0)
    for fields, status in (([], 401), ([basic("a:c")], 401), ([basic("a:b")], 0)):
        exchange = Exchange()
        exchange.policies = route.policies
        exchange.ask(request(fields))
        assert exchange.status == status
        assert len(exchange.streams) == (status == 0)
    assert (
        Remote(Lease("t", "n", "http", None, 0, "token", '{"newer": 1}'), KIND, None, None, 0).policies
        == UNREADABLE
    )


def test_a_tunnel_without_them_asks_nothing():
    assert policies(KIND, read_options(KIND.options, {})).usual is None


def test_a_body_that_comes_byte_by_byte_takes_few_pieces():
    gathering = Gathering(Room(), "192.0.2.1", 64 * 1024, None)
    for _ in range(64 * 1024):
        gathering.add(b"xy"[:1], None)
    assert len(gathering._pieces) <= 64 * 1024 // SMALL
    gathering.add(b"", [])
    assert outcome(gathering.done) == b"x" * 64 * 1024


def test_what_comes_of_a_body_that_nobody_wants_takes_no_room():
    room = Room()
    gathering = Gathering(room, "192.0.2.1", 100, None)
    gathering.add(b"12345678", None)
    gathering.drop()
    gathering.add(b"12345678", None)
    assert room.used == 0
