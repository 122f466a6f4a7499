"""Webhooks: each sender's signature, right and wrong."""

import hashlib
import hmac
from base64 import b64decode, b64encode

import pytest

from burrow.policy.signatures import TOLERANCE, parse_signature
from burrow.policy.webhooks import MAX_BODY, Webhooks
from tests.policy.visiting import HOST, NOW, World, answered, ask, sent, visit

BODY = b'{"a": "\xc3\xa4"}'
STAMP = str(int(NOW))


def mac(key, message, digest="sha256"):
    return hmac.new(key.encode() if isinstance(key, str) else key, message, digest)


def b64(made):
    return b64encode(made.digest()).decode()


WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RAW = b64decode(WHSEC[6:])


def github(body=BODY, key="s"):
    return [("X-Hub-Signature-256", "sha256=" + mac(key, body).hexdigest())]


def stripe(body=BODY, key="s", stamp=STAMP):
    return [
        ("Stripe-Signature", f"t={stamp},v1=00,v1={mac(key, stamp.encode() + b'.' + body).hexdigest()},v0=1")
    ]


def slack(body=BODY, key="s", stamp=STAMP):
    signature = "v0=" + mac(key, b"v0:" + stamp.encode() + b":" + body).hexdigest()
    return [("X-Slack-Request-Timestamp", stamp), ("X-Slack-Signature", signature)]


def shopify(body=BODY, key="s"):
    return [("X-Shopify-Hmac-Sha256", b64(mac(key, body)))]


def standard(body=BODY, key=RAW, stamp=STAMP, prefix="webhook"):
    signature = "v1," + b64(mac(key, b"msg_1." + stamp.encode() + b"." + body))
    return [
        (f"{prefix}-id", "msg_1"),
        (f"{prefix}-timestamp", stamp),
        (f"{prefix}-signature", f"v1,AA {signature}"),
    ]


def svix(**given):
    return standard(**given, prefix="svix")


def twilio(body=BODY, key="s"):
    url = f"https://{HOST}/hook?bodySHA256={hashlib.sha256(body).hexdigest()}"
    return [("X-Twilio-Signature", b64(mac(key, url.encode(), "sha1")))]


def generic(body=BODY, key="s"):
    return [("X-Sign", mac(key, body).hexdigest())]


def generic64(body=BODY, key="s"):
    return [("X-Sign", "sha256=" + b64(mac(key, body)))]


CASES = {
    "github=s": github,
    "stripe=s": stripe,
    "slack=s": slack,
    "shopify=s": shopify,
    f"standard={WHSEC}": standard,
    f"svix={WHSEC[6:]}": svix,
    "twilio=s": twilio,
    "hmac:X-Sign=s": generic,
}
TARGET = f"/hook?bodySHA256={hashlib.sha256(BODY).hexdigest()}"


def post(fields, body=BODY, target=TARGET, world=None):
    return visit(world or World(), target, "POST", fields, body)


@pytest.mark.parametrize("text", CASES)
def test_right_and_wrong(text):
    door, sign = Webhooks([parse_signature(text)]), CASES[text]
    made = post(sign())
    assert ask([door], made) == 0
    assert dict(sent(made)) == {name.lower(): value for name, value in made_fields(made)}, "it stays signed"
    assert ask([door], post([])) == 401
    assert ask([door], post(sign(), BODY + b" ")) == 401
    assert ask([door], post(sign(key=b"other" if sign in (standard, svix) else "other"))) == 401
    assert ask([door], post([*sign(), *sign()])) == 401, "two signatures are none"
    empty = [(name, "") for name, _ in sign()]
    assert ask([door], post(empty)) == 401
    assert ask([door], visit(World(), TARGET, fields=sign(), socket=True)) == 401
    assert ask([door], visit(World(), TARGET)) == 401


def made_fields(made):
    return [(name.decode(), value.decode()) for name, value in made.request.headers.fields]


@pytest.mark.parametrize("sign", [stripe, slack, standard, svix])
def test_what_was_signed_long_ago_is_no_more_right(sign):
    text = next(text for text, one in CASES.items() if one is sign)
    door, world = Webhooks([parse_signature(text)]), World()
    fields = sign()
    for moved, status in ((TOLERANCE, 0), (TOLERANCE + 2, 401), (-TOLERANCE, 0), (-TOLERANCE - 2, 401)):
        world.time = NOW + moved
        assert ask([door], post(fields, world=world)) == status
    assert ask([door], post(sign(stamp="later"))) == 401
    assert ask([door], post(sign(stamp=""))) == 401


def test_github_documents_this():
    door = Webhooks([parse_signature("github=It's a Secret to Everybody")])
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert ask([door], post([("X-Hub-Signature-256", signature)], b"Hello, World!")) == 0


def test_twilio_documents_this():
    """https://www.twilio.com/docs/usage/security: a form, whose fields are signed in order of their names."""
    door = Webhooks([parse_signature("twilio=12345")])
    body = (
        b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212"
    )
    url = f"https://{HOST}/myapp.php?foo=1&bar=2"
    message = url + "CallSidCA1234567890ABCDECaller+14158675309Digits1234From+14158675309To+18005551212"
    fields = [
        ("X-Twilio-Signature", b64(mac("12345", message.encode(), "sha1"))),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ]
    assert ask([door], post(fields, body, "/myapp.php?foo=1&bar=2")) == 0
    assert ask([door], post(fields, body, "/myapp.php?foo=1&bar=3")) == 401
    assert ask([door], post(fields, body + b"&x=y", "/myapp.php?foo=1&bar=2")) == 401
    assert ask([door], post(fields, b"&".join([b"a=b"] * 2000), "/myapp.php?foo=1&bar=2")) == 401


def test_any_sender_of_several():
    door = Webhooks(map(parse_signature, ("github=s", "hmac:X-Sign=s", "github=older")))
    assert ask([door], post(generic64())) == 0
    assert ask([door], post(github(key="older"))) == 0
    assert ask([door], post(github(key="oldest"))) == 401


def test_a_large_body_is_not_read_whole():
    door = Webhooks([parse_signature("github=s")])
    body = b"x" * (MAX_BODY + 1)
    answer = answered([door], post(github(body), body))
    assert answer.status == 413
    assert f"{MAX_BODY} bytes" in answer.text
    assert ask([door], post(github(body[1:]), body[1:])) == 0


def test_who_signs_nothing_is_not_read():
    made = post([])
    made.body = lambda limit: pytest.fail("the body was read")
    assert ask([Webhooks([parse_signature("github=s")])], made) == 401


def test_who_waits_for_a_leave_to_send_was_given_it():
    made = post([*github(), ("Expect", "100-continue")])
    assert ask([Webhooks([parse_signature("github=s")])], made) == 0
    assert "expect" not in dict(sent(made))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("github", "write SENDER=SECRET"),
        ("gitlab=x", "SENDER being one of github, stripe"),
        ("github=", "write the secret behind the sender"),
        ("hmac=x", "hmac:HEADER"),
        ("hmac:X Y=x", "hmac:HEADER"),
        ("hmac:=x", "hmac:HEADER"),
        ("standard=no base64!", "whsec_ and base64"),
        ("svix=whsec_", "whsec_ and base64"),
    ],
)
def test_what_is_no_signature(text, words):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_signature(text)
    assert words in str(caught.value)


def test_secrets_are_not_shown():
    assert "sesame" not in repr(parse_signature("github=sesame"))
    assert str(parse_signature("github=sesame=x")) == "github=sesame=x", "the server has to know it"
