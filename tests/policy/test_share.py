"""Links that expire."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from burrow.policy.share import ShareLinks, masked, parse_share_key, public_half, share_link
from tests.policy.visiting import HOST, NOW, World, answered, ask, field, held, sent, visit

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


@pytest.fixture
def door():
    return ShareLinks(parse_share_key(str(public_half(KEY))))


def link(url=f"https://{HOST}/", until=NOW + 60, key=KEY):
    """A link's target."""
    return share_link(key, url, until).removeprefix(f"https://{HOST}")


def test_a_link_lets_in_by_a_cookie(door):
    world = World()
    answer = answered([door], visit(world, link(f"https://{HOST}/a?b=c&d")))
    assert answer.status == 303
    assert field(answer, "Location") == "/a?b=c&d"
    set_cookie = field(answer, "Set-Cookie")
    assert set_cookie.startswith("__Host-burrow-share=")
    assert set_cookie.endswith("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")
    for socket in (False, True):
        made = visit(world, "/a", fields=[held(answer)], socket=socket)
        assert ask([door], made) == 0
        assert "cookie" not in dict(sent(made))
        assert ask([door], visit(world, "/a", socket=socket)) == 401
    made = visit(world, fields=[("Cookie", f"a=b; {held(answer)[1]}; c=d")])
    assert ask([door], made) == 0
    assert dict(sent(made))["cookie"] == "a=b; c=d"
    assert ask([door], visit(world, fields=[held(answer)], host="other.example.com")) == 401
    world.time += 60
    assert ask([door], visit(world, fields=[held(answer)])) == 401


def test_without_tls_a_cookie_is_not_secure_or_no_browser_would_keep_it(door):
    answer = answered([door], visit(World(), link(), scheme="http"))
    assert field(answer, "Set-Cookie").startswith("burrow-share=")
    assert "Secure" not in field(answer, "Set-Cookie")
    assert ask([door], visit(World(), fields=[held(answer)], scheme="http")) == 0
    assert ask([door], visit(World(), fields=[held(answer)])) == 401


def test_what_is_no_page_goes_on_at_once_and_without_the_key(door):
    for given in ({"method": "POST"}, {"socket": True}):
        made = visit(World(), link(f"https://{HOST}/hook?x=1"), **given)
        assert ask([door], made) == 0
        assert made.target == b"/hook?x=1"


@pytest.mark.parametrize(
    "target",
    [
        link(until=NOW),
        link(key=Ed25519PrivateKey.from_private_bytes(b"x" * 32)),
        share_link(KEY, "https://other.example.com/", NOW + 60).removeprefix("https://other.example.com"),
        link()[:-1],
        link() + "A",
        "/?burrow-key=",
        "/?burrow-key=" + "A" * 96,
        "/?burrow-key=" + "%" * 96,
        link()[:14] + "B" + link()[15:],
    ],
)
def test_other_links_let_nobody_in(door, target):
    assert ask([door], visit(World(), target)) == 403
    assert ask([door], visit(World(), target, socket=True)) == 403
    assert (
        ask([door], visit(World(), fields=[("Cookie", "__Host-burrow-share=" + target.partition("=")[2])]))
        == 401
    )


def test_a_link_leads_to_this_host_alone(door):
    answer = answered([door], visit(World(), link(f"https://{HOST}//evil.example/")))
    assert field(answer, "Location") == "/evil.example/"
    answer = answered([door], visit(World(), link(f"https://{HOST}/\\/evil.example/")))
    assert field(answer, "Location") == "/evil.example/"


def test_a_cookie_does_not_count_for_what_another_origin_asks(door):
    cookie = held(answered([door], visit(World(), link())))
    for origin, status in ((f"https://{HOST}", 0), ("https://evil.example.com", 401), ("null", 401)):
        for given in ({"method": "POST"}, {"socket": True}):
            assert ask([door], visit(World(), fields=[cookie, ("Origin", origin)], **given)) == status
        assert ask([door], visit(World(), fields=[cookie, ("Origin", origin)])) == 0


def test_nobody_else_is_shown_the_key():
    assert masked(b"/a?b=c&burrow-key=AAA&d") == b"/a?b=c&burrow-key=***&d"
    assert masked(b"/burrow-key=x") == b"/burrow-key=x"
    assert masked(b"/a?b=c") == b"/a?b=c"


def test_signing_out_takes_the_cookie_away(door):
    answer = answered([door], visit(World(), "/_burrow/sign-out"))
    assert (answer.status, answer.code) == (200, "signed-out")
    assert field(answer, "Set-Cookie").startswith("__Host-burrow-share=; Path=/; Max-Age=0;")


@pytest.mark.parametrize("text", ["", "AAAA", "é", "A" * 44, str(public_half(KEY)) + "AA"])
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match="43 characters"):
        parse_share_key(text)
