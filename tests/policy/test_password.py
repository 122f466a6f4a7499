"""The password page."""

import re
from urllib.parse import urlencode

import pytest
from twisted.internet.defer import Deferred

from burrow.policy.basic import BasicAuth, parse_user
from burrow.policy.doors import Authentication
from burrow.policy.hashed import parse_password
from burrow.policy.password import LASTS, PasswordPage
from burrow.policy.tries import MOST
from tests.policy.visiting import HOST, World, answered, ask, field, held, sent, visit

BROWSER = ("Accept", "text/html,*/*")


def make(password="open sesame", salt=b"s" * 16):
    return PasswordPage(parse_password(str(parse_password(password).sealed(salt))))


@pytest.fixture(scope="module")
def door():
    return make()


def form(password, to="/a?b", **given):
    fields = [("Content-Type", "application/x-www-form-urlencoded"), *given.pop("fields", ())]
    body = urlencode({"password": password, "to": to}).encode()
    return visit(given.pop("world", World()), "/_burrow/sign-in", "POST", fields, body, **given)


def test_a_person_is_shown_a_form(door):
    answer = answered([door], visit(World(), "/a?b=<c>&d", fields=[BROWSER]))
    assert answer.status == 401
    kind, body = answer.content
    assert kind.startswith(b"text/html")
    assert b'value="/a?b=&lt;c&gt;&amp;d"' in body
    assert b"frame-ancestors 'none'" in dict(answer.fields)[b"Content-Security-Policy"]
    for fields in ([], [("Sec-Fetch-Mode", "cors"), BROWSER]):
        assert answered([door], visit(World(), fields=fields)).content is None
    assert answered([door], visit(World(), fields=[BROWSER], socket=True)).content is None
    assert answered([door], visit(World(), method="POST", fields=[BROWSER])).content is None


def test_the_password_lets_in(door):
    world = World()
    answer = answered([door], form("open sesame", world=world))
    assert (answer.status, field(answer, "Location")) == (303, "/a?b")
    assert re.fullmatch(
        rf"__Host-burrow-password=[0-9a-f.]+; Path=/; Max-Age={LASTS}; HttpOnly; SameSite=Lax; Secure",
        field(answer, "Set-Cookie"),
    )
    for socket in (False, True):
        made = visit(world, fields=[held(answer)], socket=socket)
        assert ask([door], made) == 0
        assert "cookie" not in dict(sent(made))
    # Of another host, of another password, changed, and after its time it is nothing.
    name, value = held(answer)
    later = re.sub(r"=(\d)", lambda found: f"={int(found[1]) + 1}", value)
    assert ask([door], visit(world, fields=[(name, value)], host="other.example.com")) == 401
    assert ask([make("another")], visit(world, fields=[(name, value)])) == 401
    assert ask([door], visit(world, fields=[(name, later)])) == 401
    assert ask([door], visit(world, fields=[(name, value.partition(".")[0])])) == 401
    assert (
        ask([door], visit(world, fields=[(name, value), ("Origin", "https://x.example.com")], method="PUT"))
        == 401
    )
    world.time += LASTS
    assert ask([door], visit(world, fields=[(name, value)])) == 401


def test_all_nodes_and_all_starts_have_the_same_key(door):
    answer = answered([door], form("open sesame"))
    assert ask([make()], visit(World(), fields=[held(answer)])) == 0


def test_another_password_does_not(door):
    for given in ("open", "", "x" * 2000, "OPEN SESAME"):
        answer = answered([door], form(given))
        assert answer.status == 401
        assert b"Set-Cookie" not in dict(answer.fields)
        assert b'value="/a?b"' in answer.content[1]


def test_tries_are_limited():
    door, world = make(), World()
    for _ in range(MOST):
        assert ask([door], form("wrong", world=world)) == 401
    assert ask([door], form("open sesame", world=world)) == 429
    assert ask([door], form("open sesame", world=world, address="198.51.100.1")) == 303


def test_tries_whose_forms_come_at_once_are_limited():
    door, world, bodies, said = make(), World(), [], []
    for number in range(2 * MOST):
        posted = form(f"guess{number}", world=world)
        text, waits = posted.body(1000), Deferred()
        bodies.append((text, waits))
        posted.body = lambda limit, waits=waits: waits
        asked = Authentication([door]).visit(posted)
        asked.addCallback(lambda answer: said.append(answer.status))
    for text, waits in bodies:
        text.chainDeferred(waits)
    assert said == [401] * MOST + [429] * MOST


@pytest.mark.parametrize(
    "to", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\nb", "/_burrow/x"]
)
def test_it_leads_to_this_host_alone(door, to):
    assert field(answered([door], form("open sesame", to)), "Location") == "/"


def test_another_pages_form_is_not_taken(door):
    assert ask([door], form("open sesame", fields=[("Origin", "https://evil.example")])) == 403
    assert ask([door], form("open sesame", fields=[("Origin", f"https://{HOST}")])) == 303


def test_a_form_that_is_none(door):
    made = visit(World(), "/_burrow/sign-in", "POST", body=b"\xff\xfe")
    assert ask([door], made) == 401
    assert ask([door], visit(World(), "/_burrow/sign-in", "POST", body=b"x" * 20_000)) == 413
    assert ask([door], visit(World(), "/_burrow/sign-in", "POST", body=b"a=b&" * 2000)) == 401


def test_one_door_of_several_is_enough(door):
    users = BasicAuth([parse_user(str(parse_user("bob:builder").sealed(b"s" * 16)))])
    both = [door, users]
    assert ask(both, visit(World(), fields=[("Authorization", "Basic Ym9iOmJ1aWxkZXI=")])) == 0
    assert ask(both, visit(World(), fields=[held(answered(both, form("open sesame")))])) == 0
    answer = answered(both, visit(World()))
    assert next(value for name, value in answer.fields if name == b"WWW-Authenticate") == b"Burrow"
    assert "Or: " in answer.text


@pytest.mark.parametrize("asked", [False, True])
def test_preflights_are_let_through_where_asked(door, asked):
    fields = [("Origin", "https://x.example"), ("Access-Control-Request-Method", "PUT"), ("Cookie", "a=b")]
    made = visit(World(), method="OPTIONS", fields=fields)
    assert ask([door], made, preflights=asked) == (0 if asked else 401)
    if asked:
        assert "cookie" not in dict(sent(made))
    assert ask([door], visit(World(), method="OPTIONS", fields=fields[:1]), preflights=asked) == 401
    assert ask([door], visit(World(), method="PUT", fields=fields), preflights=asked) == 401
