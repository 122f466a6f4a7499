"""Tests of the kind "redis", without a network and without Redis."""

import pytest
from burrow_redis.kind import Redis

from burrow.testing.tunnel import MemoryTunnel


def resp(*words):
    words = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def refused(name):
    return b"-READONLY %b is refused: only commands that read pass this tunnel\r\n" % name


class Pair:
    """A visitor, and the upstream that it reached."""

    def __init__(self, **given):
        self.tunnel = MemoryTunnel(Redis(), given, address="6379")
        self.visitor = self.tunnel.visit()
        (self.redis,) = self.tunnel.built

    def ask(self, data):
        """What Redis gets. C{data} comes in pieces of one byte, as it may."""
        before = len(self.redis.received)
        for position in range(len(data)):
            self.visitor.transport.write(data[position : position + 1])
            self.tunnel.pump()
        return self.redis.received[before:]

    def answer(self, data):
        """What the visitor gets, likewise."""
        before = len(self.visitor.received)
        for position in range(len(data)):
            self.redis.transport.write(data[position : position + 1])
            self.tunnel.pump()
        return self.visitor.received[before:]

    @property
    def told(self):
        return [(each.method, each.target, each.error) for each in self.tunnel.records]


def unknown(sent):
    """What Redis answers to a command that it does not know."""
    name = sent.split(b"\r\n")[2]
    return b"-ERR unknown command '%b', with args beginning with: \r\n" % name


def test_reads_pass_and_writes_are_refused_in_their_turn():
    pair = Pair(readonly=True)
    assert pair.ask(resp("GET", "a")) == resp("GET", "a")
    substitute = pair.ask(resp("SET", "a", "1"))
    assert b"a\r\n" not in substitute
    assert pair.ask(resp("get", "b")) == resp("get", "b")
    assert pair.answer(b"$1\r\n1\r\n" + unknown(substitute) + b"$-1\r\n") == (
        b"$1\r\n1\r\n" + refused(b"SET") + b"$-1\r\n"
    )
    assert pair.told == [
        ("GET", "a", ""),
        ("SET", "a", "READONLY SET is refused: only commands that read pass this tunnel"),
        ("GET", "b", ""),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("EVAL", "return redis.call('set','a',1)", "0"),
        ("EVALSHA", "aa", "0"),
        ("FCALL", "f", "0"),
        ("SORT", "a", "STORE", "b"),
        ("GETDEL", "a"),
        ("GETEX", "a", "EX", "1"),
        ("CONFIG", "SET", "dir", "/"),
        ("CLIENT", "REPLY", "OFF"),
        ("CLIENT",),
        ("SCRIPT", "FLUSH"),
        ("PUBLISH", "a", "b"),
        ("XREADGROUP", "GROUP", "a", "b", "STREAMS", "c", ">"),
        ("MONITOR",),
        ("SYNC",),
        ("NEWCOMMAND", "a"),
        (b"SE\0T", "a"),
        ("S" * 100, "a"),
        ("S" * 100_000, "a"),
        ("", "a"),
    ],
)
def test_what_may_write_or_is_not_known_is_refused(words):
    pair = Pair(readonly=True)
    pair.visitor.transport.write(resp(*words))
    pair.visitor.transport.write(resp("PING"))
    pair.tunnel.pump()
    assert pair.redis.received.startswith(b"*1\r\n$")
    assert pair.redis.received.endswith(resp("PING"))
    assert b"burrow-refused:" in pair.redis.received
    assert len(pair.redis.received) < 120


@pytest.mark.parametrize(
    "line", [b"GET a\r\n", b"get  a\n", b"PING\r\n", b'GET "a b"\r\n', b"object ENCODING a\r\n"]
)
def test_inline_commands_that_read(line):
    assert Pair(readonly=True).ask(line) == line


@pytest.mark.parametrize(
    "line", [b"SET a b\r\n", b"set a b\n", b'"SET" a b\r\n', b'"S\\x45T" a b\r\n', b'GET"x" a\r\n']
)
def test_inline_commands_that_are_refused(line):
    assert Pair(readonly=True).ask(b"\r\n" + line).startswith(b"*1\r\n$")


@pytest.mark.parametrize(
    "data",
    [
        b"*2\r\n$3\r\nGET\r\n$1\r\nabc",
        b"*02\r\n$3\r\nGET\r\n",
        b"*2\n$3\nGET\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n:3\r\n",
        b"*99999999999999\r\n",
        b"GET a\0b\r\n",
        b"*1\r*1\r\n$3\r\nDEL\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_ends_the_connection(data):
    pair = Pair(readonly=True)
    assert pair.ask(resp("PING")) == resp("PING")
    got = pair.ask(data)
    assert got.endswith(resp("burrow-refused:") + resp("QUIT"))
    assert pair.ask(resp("SET", "a", "b")) == b""


def test_lists_of_nothing_are_no_commands():
    assert Pair(readonly=True).ask(b"*0\r\n" + resp("PING")) == resp("PING")


def test_large_values_pass_in_pieces_both_ways():
    pair = Pair(readonly=True)
    pair.visitor.transport.write(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n")
    for _ in range(99):
        before = len(pair.redis.received)
        pair.visitor.transport.write(b"x" * 10_000)
        pair.tunnel.pump()
        assert len(pair.redis.received) - before >= 9_000
    pair.redis.transport.write(b"$1000000\r\n")
    pair.tunnel.pump()
    for _ in range(99):
        before = len(pair.visitor.received)
        pair.redis.transport.write(b"\r\n-ERR burrow-refused:\r\n" + b"y" * 9_976)
        pair.tunnel.pump()
        assert len(pair.visitor.received) - before == 10_000
    assert b"READONLY" not in pair.visitor.received


def test_transaction_with_a_write_is_given_up_by_redis():
    pair = Pair(readonly=True)
    for words in (("MULTI",), ("GET", "a"), ("SET", "a", "1"), ("EXEC",)):
        pair.ask(resp(*words))
    assert pair.redis.received == (
        resp("MULTI") + resp("GET", "a") + resp("burrow-refused:SET") + resp("EXEC")
    )


def test_errors_within_lists_are_left_alone():
    pair = Pair(readonly=True)
    pair.ask(resp("EXEC") + resp("PING"))
    data = b"*2\r\n-ERR burrow-refused:X\r\n*1\r\n$3\r\nabc\r\n+PONG\r\n"
    assert pair.answer(data) == data
    assert pair.told == [("EXEC", "", ""), ("PING", "", "")]


def test_every_kind_of_answer_is_one_answer():
    answers = [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(12345\r\n",
        b"=5\r\ntxt:a\r\n",
        b"!3\r\nERR\r\n",
        b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
        b"~2\r\n+a\r\n$0\r\n\r\n",
        b"|1\r\n+a\r\n+b\r\n+value\r\n",
        b"*1\r\n|1\r\n+a\r\n+b\r\n+value\r\n",
        b"|0\r\n+value\r\n",
        b"+" + b"x" * 3000 + b"\r\n",
        b"-ERR " + b"x" * 3000 + b"\r\n",
    ]
    pair = Pair()
    for number, answer in enumerate(answers):
        pair.ask(resp("GET", str(number)))
        assert pair.answer(b">2\r\n+invalidate\r\n*1\r\n+a\r\n") == b">2\r\n+invalidate\r\n*1\r\n+a\r\n"
        assert not pair.tunnel.records[-1].ended, answer
        assert pair.answer(answer) == answer
        assert pair.tunnel.records[-1].ended, answer


def test_secrets_are_not_told():
    pair = Pair()
    pair.ask(resp("AUTH", "default", "secret") + resp("HELLO", "3", "AUTH", "default", "secret"))
    pair.answer(b"+OK\r\n%0\r\n")
    assert pair.told == [("AUTH", "", ""), ("HELLO", "3", "")]


def test_subscription_is_one_record_until_the_connection_ends():
    pair = Pair(readonly=True)
    pair.ask(resp("SUBSCRIBE", "news"))
    push = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    assert pair.answer(push * 3) == push * 3
    assert [each.ended for each in pair.tunnel.records] == [False]
    pair.visitor.transport.loseConnection()
    pair.tunnel.pump()
    pair.redis.transport.loseConnection()
    pair.tunnel.pump()
    assert pair.told == [("SUBSCRIBE", "news", "")]
    assert pair.tunnel.records[0].sent == len(push) * 3


def test_commands_without_answers_are_told_to_have_failed():
    pair = Pair()
    pair.ask(resp("GET", "a"))
    pair.redis.transport.abortConnection()
    pair.tunnel.pump()
    ((method, key, error),) = pair.told
    assert (method, key, bool(error)) == ("GET", "a", True)


def test_thousands_of_commands_at_once_are_answered_and_not_all_told():
    pair = Pair(readonly=True)
    pair.visitor.transport.write(resp("GET", "a") * 3000)
    pair.tunnel.pump()
    pair.redis.transport.write(b"+b\r\n" * 3000)
    pair.tunnel.pump()
    assert pair.visitor.received == b"+b\r\n" * 3000
    assert len(pair.tunnel.records) == 1000
    pair.ask(resp("GET", "last"))
    assert pair.answer(b"+c\r\n") == b"+c\r\n"
    assert pair.told[-1] == ("GET", "last", "")
