"""Sign-in by OpenID Connect, with a provider that is a dictionary of URLs."""

from base64 import b64decode
from dataclasses import replace
from hashlib import sha256
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from twisted.internet.defer import Deferred

from burrow.policy.doors import Authentication
from burrow.policy.hashed import encoded
from burrow.policy.oidc import LASTS, Client, OpenId
from burrow.policy.people import Allowed, parse_allowed
from burrow.policy.provider import PAUSE
from tests.policy.test_jwts import RSA, public
from tests.policy.visiting import HOST, World, answered, ask, field, held, outcome, sent, visit

ISSUER = "https://id.example/realm"
BROWSER = ("Sec-Fetch-Mode", "navigate")


class Provider:
    """A provider. C{person}: the claims of who signs in there. C{changed}: of what it says, by tests."""

    def __init__(self, world, **configuration):
        self.world = world
        self.person = {"sub": "1", "email": "alice@example.com", "email_verified": True, "name": "Alice"}
        self.info = None
        self.changed = {}
        self.asked = []
        configuration = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/auth?x=1",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/info",
            **configuration,
        }
        world.urls |= {
            f"{ISSUER}/.well-known/openid-configuration": configuration,
            f"{ISSUER}/keys": {"keys": [public(RSA, "r")]},
            f"{ISSUER}/token": self._token,
            f"{ISSUER}/info": lambda form, fields: self.info,
        }

    def sign_in(self, location):
        """A person signs in. @return: the target to which the browser comes back."""
        self.query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert self.query["redirect_uri"] == f"https://{HOST}/_burrow/callback"
        return "/_burrow/callback?" + urlencode({"code": "c1", "state": self.query["state"], "iss": ISSUER})

    def _token(self, form, fields):
        self.asked.append((form, fields))
        assert encoded(sha256(form["code_verifier"].encode()).digest()) == self.query["code_challenge"]
        assert form["redirect_uri"] == self.query["redirect_uri"]
        now = self.world.time
        claims = {"iss": ISSUER, "aud": "app", "exp": now + 60, "nonce": self.query["nonce"]}
        claims |= {**self.person, **self.changed}
        return {"id_token": jwt.encode(claims, RSA, "RS256", {"kid": "r"}), "access_token": "at"}


def make(*allowed, secret="s3cret"):
    return OpenId(Client(ISSUER, "app", secret), map(parse_allowed, allowed or ("alice@example.com",)))


@pytest.fixture
def world():
    return World()


@pytest.fixture
def provider(world):
    return Provider(world)


def signed_in(world, provider, door, target="/a?b"):
    """The answer to a browser that comes back."""
    answer = answered([door], visit(world, target, fields=[BROWSER]))
    assert answer.status == 303
    back = provider.sign_in(field(answer, "Location"))
    return answered([door], visit(world, back, fields=[BROWSER, held(answer)]))


def test_a_person_signs_in(world, provider):
    door = make()
    way = answered([door], visit(world, "/a?b", fields=[BROWSER]))
    location = field(way, "Location")
    assert location.startswith(f"{ISSUER}/auth?x=1&response_type=code&client_id=app&")
    assert "Max-Age=600; HttpOnly; SameSite=Lax; Secure" in field(way, "Set-Cookie")
    answer = answered([door], visit(world, provider.sign_in(location), fields=[BROWSER, held(way)]))
    assert (answer.status, field(answer, "Location")) == (303, "/a?b")
    form, fields = provider.asked[0]
    assert form["code"] == "c1"
    assert b64decode(fields["Authorization"][6:]) == b"app:s3cret"
    assert "alice" not in held(answer)[1]
    for socket in (False, True):
        made = visit(world, fields=[held(answer), ("Burrow-User", "root")], socket=socket)
        assert ask([door], made) == 0
        assert "cookie" not in dict(sent(made))
        assert (b"Burrow-User-Email", b"alice@example.com") in made.identity
        assert (b"Burrow-User", b"1") in made.identity
    # All nodes know it, another tunnel and another client do not, nor anybody after its time.
    assert ask([make()], visit(world, fields=[held(answer)])) == 0
    assert ask([door], visit(world, fields=[held(answer)], host="other.example.com")) == 401
    assert ask([make(secret="x")], visit(world, fields=[held(answer)])) == 401
    assert ask([make("@example.org")], visit(world, fields=[held(answer)])) == 401, "who is no more allowed"
    origin = ("Origin", "https://x.example.com")
    assert ask([door], visit(world, fields=[held(answer), origin], method="POST")) == 401
    world.time += LASTS
    assert ask([door], visit(world, fields=[held(answer)])) == 401


def test_scripts_and_sockets_are_not_sent_to_the_provider(world, provider):
    for given in ({"socket": True}, {"method": "POST"}, {"fields": [("Sec-Fetch-Mode", "cors")]}, {}):
        assert ask([make()], visit(world, **given)) == 401
    assert world.fetched == []


@pytest.mark.parametrize(
    ("allowed", "person", "status"),
    [
        ("alice@example.com", {}, 303),
        ("ALICE@EXAMPLE.COM", {}, 303),
        ("bob@example.com", {}, 403),
        ("@example.com", {}, 303),
        ("@ample.com", {}, 403),
        ("@example.com", {"email_verified": False}, 403),
        ("@example.com", {"email_verified": None}, 403),
        ("@example.com", {"email": "alice@example.com@evil.example"}, 403),
        ("@example.com", {"email": ["alice@example.com"]}, 403),
        ("group:staff", {"groups": ["users", "staff"]}, 303),
        ("group:staff", {"groups": ["staff2"]}, 403),
        ("group:staff", {"groups": "staff"}, 403),
        ("group:staff", {}, 403),
        ("sub:1", {"email_verified": False}, 303),
        ("sub:2", {}, 403),
        ("*", {"email_verified": False}, 303),
    ],
)
def test_who_is_allowed(world, provider, allowed, person, status):
    provider.person |= person
    assert signed_in(world, provider, make(allowed)).status == status


def test_what_the_provider_tells_later(world, provider):
    provider.info = {"sub": "1", "groups": ["staff"]}
    assert signed_in(world, provider, make("group:staff")).status == 303
    provider.info = {"sub": "2", "groups": ["staff"]}
    assert signed_in(world, provider, make("group:staff")).status == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["app", "x"], "azp": "x"},
        {"exp": 1},
        {"sub": 5},
        {"nonce": 5},
    ],
)
def test_what_the_provider_says_has_to_be_valid(world, provider, changed):
    provider.changed = changed
    assert signed_in(world, provider, make("*")).status == 403


def test_the_way_back_has_to_be_this_browsers(world, provider):
    door = make("*")
    way = answered([door], visit(world, fields=[BROWSER]))
    back = provider.sign_in(field(way, "Location"))
    other = answered([door], visit(world, fields=[BROWSER]))
    session = held(signed_in(world, provider, door))
    for target, fields in (
        (back, []),
        (back, [held(other)]),
        (back, [("Cookie", "__Host-burrow-signing-in=x")]),
        (back, [("Cookie", session[1].replace("burrow-session", "burrow-signing-in"))]),
        (back.replace("state=", "state=x"), [held(way)]),
        ("/_burrow/callback", [held(way)]),
        (back.replace("code=c1", "error=access_denied&error_description=<b>"), [held(way)]),
        (back.replace("id.example", "evil.example"), [held(way)]),
        (back + "&x=y" * 50, [held(way)]),
    ):
        assert ask([door], visit(world, target, fields=fields)) == 403, target
    world.time += 600
    assert ask([door], visit(world, back, fields=[held(way)])) == 403
    # What was begun is no session.
    assert (
        ask([door], visit(world, fields=[("Cookie", held(way)[1].replace("signing-in", "session"))])) == 401
    )


def test_it_comes_back_to_this_host_alone(world, provider):
    assert field(signed_in(world, provider, make("*"), "//evil.example/"), "Location") == "/"
    assert field(signed_in(world, provider, make("*"), "/" + "x" * 3000), "Location")[:3] == "/xx"


def test_a_client_that_tells_its_secret_in_the_form(world):
    provider = Provider(world, token_endpoint_auth_methods_supported=["client_secret_post"])
    signed_in(world, provider, make("*"))
    form, fields = provider.asked[0]
    assert (form["client_id"], form["client_secret"], fields) == ("app", "s3cret", {})


def test_a_provider_that_is_away(world):
    door = make("*")
    assert ask([door], visit(world, fields=[BROWSER])) == 502
    provider = Provider(world)
    world.time += PAUSE
    way = answered([door], visit(world, fields=[BROWSER]))
    del world.urls[f"{ISSUER}/token"]
    assert ask([door], visit(world, provider.sign_in(field(way, "Location")), fields=[held(way)])) == 502


def test_who_waits_is_told_of_any_failure(world, provider):
    door, failed = make(), Deferred()
    world.means = replace(world.means, fetch=lambda *asked: failed)
    asked = [Authentication([door]).visit(visit(world, fields=[BROWSER])) for _ in range(2)]
    failed.errback(OverflowError("a port above 65535"))
    assert [outcome(each).status for each in asked] == [502, 502]
    world.means = World().means
    assert ask([door], visit(world, fields=[BROWSER])) == 502, "nothing waits for ever"


def test_signing_out(world):
    Provider(world, end_session_endpoint=f"{ISSUER}/out")
    answer = answered([make()], visit(world, "/_burrow/sign-out"))
    assert (answer.status, field(answer, "Location")) == (303, f"{ISSUER}/out?client_id=app")
    assert "burrow-session=; Path=/; Max-Age=0" in field(answer, "Set-Cookie")
    for bad in (f"{ISSUER}/\r\nSet-Cookie: a=b", f"{ISSUER}/\u0130", f"{ISSUER}/ ", "javascript:x", 1, None):
        told = World()
        Provider(told, end_session_endpoint=bad)
        assert answered([make()], visit(told, "/_burrow/sign-out")).status == 200
    other = World()
    Provider(other)
    assert answered([make()], visit(other, "/_burrow/sign-out")).status == 200
    assert answered([make()], visit(World(), "/_burrow/sign-out")).status == 200, "the provider is away"


def test_a_cookie_has_room_for_few_groups(world, provider):
    provider.person["groups"] = [f"a group with a long name {number}" for number in range(500)] + ["staff"]
    answer = signed_in(world, provider, make("group:staff"))
    assert answer.status == 303
    assert len(held(answer)[1]) < 4000
    made = visit(world, fields=[held(answer)])
    assert ask([make("group:staff")], made) == 0
    assert dict(made.identity)[b"Burrow-User-Groups"] == b"staff"


@pytest.mark.parametrize(
    "text", ["", "alice", "@example", "group:", "user:x", "a b@example.com", "@@example.com"]
)
def test_who_cannot_be_meant(text):
    with pytest.raises(ValueError, match="write an e-mail address"):
        parse_allowed(text)


@pytest.mark.parametrize("text", ["alice@example.com", "@example.com", "group:a b", "sub:1", "*"])
def test_as_it_is_written(text):
    assert str(parse_allowed(text)) == text
    assert isinstance(parse_allowed(text), Allowed)


def test_secrets_are_not_shown():
    assert "s3cret" not in repr(Client(ISSUER, "app", "s3cret"))
