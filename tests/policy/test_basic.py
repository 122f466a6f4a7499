"""Basic authentication, bearer tokens, and their secrets as they leave the agent."""

from base64 import b64encode

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail

from burrow.policy.basic import BasicAuth, parse_user
from burrow.policy.bearer import BearerTokens
from burrow.policy.hashed import Given, Hashed, Known, parse_password, parse_token
from burrow.policy.means import Busy
from burrow.policy.tries import MOST, WITHIN, Tries
from tests.policy.visiting import World, answered, ask, outcome, sent, visit

SALT = b"0123456789abcdef"
TOKEN = "a-token-that-is-long"


def basic(text):
    return ("Authorization", "Basic " + b64encode(text.encode()).decode())


def users(*texts):
    """The door as a server has it: of what an agent sends."""
    return BasicAuth(parse_user(str(parse_user(text).sealed(SALT))) for text in texts)


@pytest.fixture(scope="module")
def door():
    return users("alice:wonder:land", "bob:builder", "älice:größe")


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([basic("alice:wonder:land")], 0),
        ([basic("bob:builder")], 0),
        ([basic("älice:größe")], 0),
        ([("Authorization", "bASIC  " + b64encode(b"bob:builder").decode())], 0),
        ([], 401),
        ([basic("alice:builder")], 401),
        ([basic("alice:")], 401),
        ([basic("carol:builder")], 401),
        ([basic("bob")], 401),
        ([("Authorization", "Basic ???")], 401),
        ([("Authorization", "Bearer bob:builder")], 401),
        ([basic("bob:builder"), basic("bob:builder")], 401),
        ([("X-Authorization", basic("bob:builder")[1])], 401),
    ],
)
def test_who_is_let_in(door, fields, status, socket):
    made = visit(World(), fields=fields, socket=socket)
    assert ask([door], made) == status
    if status == 0:
        assert made.identity[0][0] == b"Burrow-User"
        assert "authorization" not in dict(sent(made))


def test_who_is_kept_out_is_asked(door):
    answer = answered([door], visit(World()))
    assert (b"WWW-Authenticate", b'Basic realm="Burrow", charset="UTF-8"') in answer.fields


def test_what_let_in_is_passed_on_where_asked(door):
    made = visit(World(), fields=[basic("bob:builder")])
    assert ask([door], made, pass_on=True) == 0
    assert dict(sent(made))["authorization"] == basic("bob:builder")[1]


def test_tries_are_limited_by_address():
    door, world = users("bob:builder"), World()
    for _ in range(MOST):
        assert ask([door], visit(world, fields=[basic("bob:wrong")])) == 401
    assert ask([door], visit(world, fields=[basic("bob:builder")])) == 429
    assert ask([door], visit(world, fields=[basic("bob:builder")], address="192.0.2.2")) == 0
    # What was right before is known, whatever the tries.
    assert ask([door], visit(world, fields=[basic("bob:builder")])) == 0
    world.time += WITHIN
    assert ask([door], visit(world, fields=[basic("bob:wrong")])) == 401


def test_a_right_one_forgives():
    door, world = users("bob:builder"), World()
    for _ in range(MOST - 1):
        ask([door], visit(world, fields=[basic("bob:wrong")]))
    assert ask([door], visit(world, fields=[basic("bob:builder")])) == 0
    assert ask([door], visit(world, fields=[basic("bob:wrong")])) == 401


def test_ones_own_password_does_not_forgive_guesses_at_anothers():
    door, world = users("alice:secret", "bob:builder"), World()
    said = []
    for number in range(2 * MOST):
        said.append(ask([door], visit(world, fields=[basic(f"alice:guess{number}")])))
        scheme, token = basic("bob:builder")[1].split()
        own = ("Authorization", scheme + " " * (number + 1) + token)  # each is another text
        ask([door], visit(world, fields=[own]))
    assert said == [401] * MOST + [429] * MOST


def test_the_slow_check_is_made_once_for_what_is_right():
    world, made = World(), []
    door = users("bob:builder")

    def in_thread(function, *arguments):
        made.append(arguments)
        return fail(Busy())

    for _ in range(3):
        assert ask([door], visit(world, fields=[basic("bob:builder")])) == 0
    object.__setattr__(world.means, "in_thread", in_thread)
    assert ask([door], visit(world, fields=[basic("bob:builder")])) == 0
    assert made == []
    assert ask([door], visit(world, fields=[basic("bob:other")])) == 503
    assert ask([door], visit(world, fields=[basic("nobody:other")])) == 503
    assert len(made) == 2, "an unknown user takes as long"


class Threads:
    """Comparisons that take time. @ivar begun: their Deferreds."""

    def __init__(self, world):
        self.begun, self.checks = [], []
        object.__setattr__(world.means, "in_thread", self.begin)

    def begin(self, check, *given):
        self.checks.append((check, given))
        self.begun.append(Deferred())
        return self.begun[-1]

    def end(self, number):
        check, given = self.checks[number]
        self.begun[number].callback(check(*given))


def test_what_many_requests_give_at_once_is_one_try():
    world, door, said = World(), users("bob:builder"), []
    threads = Threads(world)
    for _ in range(3 * MOST):
        asked = visit(world, fields=[basic("bob:builder")])
        said.append(door.check(asked).addCallback(lambda verdict, asked=asked: (verdict, asked.identity)))
    others = [door.check(visit(world, fields=[basic(f"bob:{number}")])) for number in range(MOST)]
    assert len(threads.begun) == MOST, "the last of them is a try too many"
    assert not isinstance(others[-1], Deferred)
    threads.end(0)
    verdicts = [outcome(each) for each in said]
    assert all(verdict is not None for verdict, _ in verdicts)
    assert {tuple(identity) for _, identity in verdicts} == {((b"Burrow-User", b"bob"),)}
    assert door.check(visit(world, fields=[basic("bob:builder")])) is not None
    threads.end(1)
    assert outcome(others[0]) is None


def test_nothing_is_compared_for_visitors_that_all_left():
    world, door = World(), users("bob:builder")
    threads = Threads(world)
    first, second = [door.check(visit(world, fields=[basic("bob:builder")])) for _ in range(2)]
    first.cancel()
    assert first.called
    assert not threads.begun[0].called
    second.cancel()
    assert threads.begun[0].called
    with pytest.raises(CancelledError):
        outcome(second)
    with pytest.raises(CancelledError):
        outcome(first)
    third = door.check(visit(world, fields=[basic("bob:builder")]))
    threads.end(1)
    assert outcome(third) is not None


def test_comparison_that_fails_fails_for_all_and_is_made_again():
    world, door = World(), users("bob:builder")
    threads = Threads(world)
    said = [door.check(visit(world, fields=[basic("bob:builder")])) for _ in range(2)]
    threads.begun[0].errback(Busy())
    for each in said:
        with pytest.raises(Busy):
            outcome(each)
    again = door.check(visit(world, fields=[basic("bob:builder")]))
    threads.end(1)
    assert outcome(again) is not None


def test_an_unknown_user_costs_as_much_as_a_known_one():
    costly = parse_user("bob:$scrypt$15$" + "A" * 22 + "$" + "A" * 43)
    door, world, made = BasicAuth([costly]), World(), []
    object.__setattr__(
        world.means, "in_thread", lambda check, *given: made.append(check.__self__.cost) or fail(Busy())
    )
    for user in ("bob", "carol"):
        assert ask([door], visit(world, fields=[basic(f"{user}:x")])) == 503
    assert made == [15, 15]


@pytest.mark.parametrize("socket", [False, True])
@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 0),
        (f"bearer   {TOKEN}", 0),
        ("Bearer another-token-that-is-long", 0),
        ("Bearer a-token-that-is-lonG", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {'x' * 9000}", 401),
    ],
)
def test_bearer_tokens(value, status, socket):
    given = (TOKEN, "another-token-that-is-long")
    door = BearerTokens(parse_token(str(parse_token(one).sealed(SALT))) for one in given)
    made = visit(World(), fields=[("Authorization", value)], socket=socket)
    assert ask([door], made) == status
    assert ("authorization" in dict(sent(made))) == (status != 0)


# -- secrets -------------------------------------------------------------------------------------------------


def test_secrets_leave_the_agent_hashed():
    for parse, secret in ((parse_password, "swordfish"), (parse_token, TOKEN)):
        given = parse(secret)
        assert isinstance(given, Given)
        assert secret not in repr(given) + str(given)
        sealed = given.sealed(SALT)
        assert secret not in str(sealed)
        assert str(sealed) not in repr(sealed)
        assert parse(str(sealed)) == sealed == sealed.sealed(b"another salt") == given.sealed(SALT)
        assert sealed.matches(secret.encode())
        assert not sealed.matches(secret.encode() + b"x")
        assert str(given.sealed(b"another salt, of 16")) != str(sealed)
        assert not isinstance(sealed, Given)
        assert isinstance(sealed, Hashed)
    user = parse_user("alice:swordfish")
    assert user.plain
    assert not user.sealed(SALT).plain
    assert "swordfish" not in repr(user) + str(user) + str(user.sealed(SALT))
    assert str(user.sealed(SALT)) != str(parse_user("bob:swordfish").sealed(SALT)).replace("bob", "alice")


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_user, "alice", "write USER:PASSWORD"),
        (parse_user, ":secret", "write USER:PASSWORD"),
        (parse_user, "alice:", "write a password"),
        (parse_user, "al\nice:secret", "write USER:PASSWORD"),
        (parse_password, "", "write a password of up to 256"),
        (parse_password, "x" * 257, "write a password of up to 256"),
        (parse_password, "$scrypt$20$" + "A" * 22 + "$" + "A" * 43, "LN from 10 to 15"),
        (parse_password, "$scrypt$13$AA$BB", "LN from 10 to 15"),
        (parse_token, "short", "write a token of 16 to 256"),
        (parse_token, "with a blank in it!", "write a token of 16 to 256"),
        (parse_token, "$sha256$AA$BB", "write $sha256$SALT$HASH"),
    ],
)
def test_what_is_no_secret(parse, text, words):
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert words in str(caught.value)


def test_what_was_right_is_remembered_within_bounds():
    known = Known(2)
    known.add(b"a")
    known.add(b"b")
    assert b"a" in known
    known.add(b"c")
    assert b"b" not in known, "it was used longest ago"
    assert b"a" in known
    assert b"c" in known


def test_tries_of_one_network_of_ipv6_count_together():
    tries = Tries()
    for number in range(MOST):
        tries.begin(f"2001:db8::{number:x}", 0)
    assert 0 < tries.wait("2001:db8::ffff", 0) <= WITHIN + 1
    assert tries.wait("2001:db8:0:1::1", 0) == 0
    tries.right("2001:db8::5")
    assert tries.wait("2001:db8::ffff", 0) == 0


def test_addresses_that_try_are_bounded():
    tries = Tries()
    for number in range(5000):
        tries.begin(f"10.0.{number // 250}.{number % 250}", 0)
    assert len(tries._wrong) == 4096
