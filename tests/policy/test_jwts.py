"""JSON Web Tokens: by which keys they count, and when."""

import json
from base64 import urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from burrow.policy.jwts import LEEWAY, JsonWebTokens
from burrow.policy.provider import FRESH, PAUSE
from tests.policy.visiting import NOW, World, ask, sent, visit

ISSUER, URL = "https://id.example", "https://id.example/keys"
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def public(key, kid, **more):
    """A key's public half, as a JWK set has it."""
    kinds = {
        rsa.RSAPrivateKey: "RS256",
        ec.EllipticCurvePrivateKey: "ES256",
        ed25519.Ed25519PrivateKey: "EdDSA",
    }
    alg = next(alg for kind, alg in kinds.items() if isinstance(key, kind))
    made = jwt.get_algorithm_by_name(alg).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, **more}


KEYS = {"keys": [public(RSA, "r"), public(EC, "e", use="sig"), public(ED, "d", alg="EdDSA")]}
CLAIMS = {
    "iss": ISSUER,
    "aud": "app",
    "sub": "alice",
    "exp": int(NOW) + 100,
    "email": "a@example.com",
    "name": "Ä",
}


def token(key=RSA, alg="RS256", kid="r", header=None, **claims):
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm=alg, headers={**({"kid": kid} if kid else {}), **(header or {})})


@pytest.fixture
def world():
    world = World()
    world.urls[URL] = KEYS
    return world


def door(**given):
    return JsonWebTokens(ISSUER, ["app", "other"], URL, **given)


def shown(world, text, **given):
    return visit(world, fields=[("Authorization", f"Bearer {text}")], **given)


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        token(),
        token(alg="PS512"),
        token(EC, "ES256", "e"),
        token(ED, "EdDSA", "d"),
        token(EC, "ES256", None),
        token(aud=["x", "other"]),
        token(exp=NOW - LEEWAY + 1, nbf=NOW + LEEWAY, iat=NOW + LEEWAY),
    ],
)
def test_who_is_let_in(world, text, socket):
    made = shown(world, text, socket=socket)
    assert ask([door()], made) == 0
    assert "authorization" not in dict(sent(made))
    assert made.identity == [
        (b"Burrow-User", b"alice"),
        (b"Burrow-User-Email", b"a@example.com"),
        (b"Burrow-User-Name", "Ä".encode()),
    ]


def forged(header, claims=CLAIMS, signature=b""):
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def confused():
    """A token that is signed by the public key, as if it were a secret of HMAC."""
    import hmac

    head = forged({"alg": "HS256", "kid": "r"}).rpartition(".")[0]
    return f"{head}.{urlsafe_b64encode(hmac.digest(PEM, head.encode(), 'sha256')).rstrip(b'=').decode()}"


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "x" * 5000,
        token()[:-8],
        token(OTHER),
        token(iss="https://evil.example"),
        token(iss=None),
        token(aud="evil"),
        token(aud=None),
        token(exp=None),
        token(exp=NOW - LEEWAY),
        token(exp="tomorrow"),
        token(nbf=NOW + LEEWAY + 1),
        token(iat=NOW + LEEWAY + 1),
        token(EC, "ES256", "r"),
        token(kid="e"),
        forged({"alg": "RS256", "kid": 5}),
        token(header={"crit": ["x"], "x": 1}),
        forged({"alg": "none", "kid": "r"}),
        forged({"alg": "None"}),
        forged({"alg": "RS256", "kid": "r"}),
        forged(["alg"]),
        *(forged({"alg": alg, "kid": "r"}) for alg in ([], {}, None, 5, True)),
        confused(),
        token("a secret of thirty-two bytes, all", "HS256"),
        token(pad="x" * 9000),
    ],
)
def test_who_is_kept_out(world, text, socket):
    assert ask([door()], shown(world, text, socket=socket)) == 401


@pytest.mark.parametrize(
    "key",
    [
        public(RSA, "r", use="enc"),
        public(RSA, "r", alg="RS512"),
        public(RSA, "other"),
        {"kty": "oct", "kid": "r", "k": urlsafe_b64encode(PEM).decode()},
        {"kty": "RSA", "kid": "r"},
        {"kty": "RSA", "kid": "r", "n": "!", "e": "!"},
        "no key",
    ],
)
def test_keys_that_are_not_for_it(world, key):
    world.urls[URL] = {"keys": [key]}
    assert ask([door()], shown(world, token())) == 401
    assert ask([door()], shown(world, confused())) == 401


def test_keys_are_fetched_once_and_again_when_a_new_one_is_named(world):
    one = door()
    for _ in range(3):
        assert ask([one], shown(world, token())) == 0
    assert world.fetched == [URL]
    rotated = token(OTHER, kid="new")
    world.urls[URL] = {"keys": [public(OTHER, "new")]}
    assert ask([one], shown(world, rotated)) == 401, "they were fetched a moment ago"
    world.time += PAUSE
    assert ask([one], shown(world, rotated)) == 0
    assert ask([one], shown(world, token())) == 401, "the old one is gone"
    assert world.fetched == [URL] * 2
    for number in range(5):
        assert ask([one], shown(world, token(kid=f"invented{number}"))) == 401
    assert world.fetched == [URL] * 2, "invented keys fetch nothing"


def test_an_issuer_that_is_away(world):
    del world.urls[URL]
    one = door()
    assert ask([one], shown(world, token())) == 502
    assert ask([one], shown(world, token())) == 502
    assert world.fetched == [URL], "it is asked again after a while"
    assert ask([one], visit(world)) == 401
    world.urls[URL] = KEYS
    world.time += PAUSE
    assert ask([one], shown(world, token())) == 0
    del world.urls[URL]
    world.time += FRESH + 1
    assert ask([one], shown(world, token(exp=world.time))) == 0, "its old keys count meanwhile"


def test_keys_are_where_the_issuer_says(world):
    one = JsonWebTokens(ISSUER, ["app"])
    where = f"{ISSUER}/.well-known/openid-configuration"
    world.urls[where] = {"issuer": ISSUER, "jwks_uri": URL}
    assert ask([one], shown(world, token())) == 0
    assert world.fetched == [where, URL]
    for wrong in ({"issuer": "https://evil.example", "jwks_uri": URL}, {"issuer": ISSUER}, [], None):
        world.urls[where] = wrong
        assert ask([JsonWebTokens(ISSUER, ["app"])], shown(world, token())) == 502


def test_groups_are_passed_on_whole(world):
    groups = ["a,b", "staff", 5, "x\ny", *(f"group{number:04}" for number in range(300))]
    made = shown(world, token(groups=groups))
    assert ask([door()], made) == 0
    named = dict(made.identity)[b"Burrow-User-Groups"].decode().split(",")
    assert named[:2] == ["staff", "group0000"]
    assert all(one in groups for one in named)
    assert 100 < len(named) < 300
