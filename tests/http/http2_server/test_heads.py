"""Tests for L{burrow.http.http2_server.heads}: what is remembered means what it means when it is read."""

import random

import pytest
from hpack import Decoder, Encoder

from burrow.http.hpack import Http2Decoder, Http2Encoder
from burrow.http.http2_server.frames import Code, Fault
from burrow.http.http2_server.heads import Heads
from burrow.http.remembered import Memory
from tests.http.http2_server.one import GET, mean

LONGEST = 65536


class Reading:
    """Heads that come. @ivar meant: what was understood, each time."""

    def __init__(self, memory=None):
        self.meant = []
        self.memory = memory or Memory()
        self.heads = Heads(LONGEST, self._mean, self.memory)

    def _mean(self, fields, ended):
        self.meant.append(([tuple(pair) for pair in fields], ended))
        return mean(fields, ended)

    def read(self, block, ended=True):
        return self.heads.read(block, ended)


def test_head_that_comes_the_third_time_is_not_read():
    one, client = Reading(), Encoder()
    one.read(client.encode(GET))  # which puts it into the table
    block = client.encode(GET)
    for _ in range(5):
        assert one.read(block) == GET
    assert len(one.meant) == 3  # the first, and the two until it is known to come again
    assert one.read(block) is one.read(block)


def test_head_with_a_body_and_without_are_two():
    one = Reading()
    block = Encoder().encode([(b":method", b"GET")])  # of the static table alone
    for ended in (True, False, True, False, True, False):
        one.read(block, ended)
    assert [ended for _, ended in one.meant] == [True, False, True, False]
    # And no other bytes are either.
    for prefix in (b"\0", b"\1"):
        for ended in (True, False):
            with pytest.raises(Fault):
                one.read(prefix + block, ended)


def test_what_is_said_not_to_last_is_read_each_time():
    one = Reading()
    for _ in range(5):
        one.read(b"\0\7:method\4ONCE")
    assert len(one.meant) == 5


CHANGES = {
    "a field that is put into the table": b"\x40\1x\1y",
    "one that is too large for it": b"\x40\1x\x7f\x81\x3f" + b"y" * 8192,
    "another size": b"\x3f\x45\x82",
    "the same size": b"\x3f\xe1\x1f\x82",
    "no table": b"\x20\x82",
    "a field, before a fault": b"\x40\1x\1y\xff\xff\xff",
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("way", ["read", "decode"])
def test_table_that_changes_has_all_forgotten(name, way):
    one, client = Reading(), Encoder()
    one.read(client.encode([*GET, (b"x", b"1")]))
    block = client.encode([*GET, (b"x", b"1")])
    for _ in range(3):
        one.read(block)
    assert one.memory.used
    known = len(one.meant)
    try:
        one.read(CHANGES[name]) if way == "read" else one.heads.decode(CHANGES[name])
    except Fault:
        assert "fault" in name
    assert one.memory.used == 0
    one.meant.clear()
    try:
        one.read(block)
    except Fault:
        return  # what it meant is not in the table any more
    assert len(one.meant) == 1
    assert known == 3


def test_same_bytes_mean_what_the_table_says_now():
    one, client = Reading(), Encoder()
    index = b"\xbe"  # the newest entry
    for value in (b"1", b"2"):
        one.read(client.encode([(b"x", value)]))
        for _ in range(4):
            assert one.read(index) == [(b"x", value)]


def test_what_is_remembered_is_bounded():
    memory = Memory(limit=20_000, each=10_000)
    readings = [Reading(memory) for _ in range(5)]
    for one in readings:
        for number in range(100):
            for _ in range(3):
                one.read(b"\0\1x\4%04d" % number)
            assert memory.used <= 20_000
    for one in readings:
        one.heads.forget()
    assert memory.used == 0


def test_long_heads_are_not_remembered():
    one = Reading()
    field = b"\0\1x\x7f\x81\x3e" + b"y" * 8064
    for _ in range(5):
        one.read(field * 2)
    assert len(one.meant) == 5
    assert one.memory.used == 0


def test_short_head_counts_with_what_it_means():
    """Fields that are in the table take a byte each."""
    one = Reading(Memory(limit=10**6, each=30_000))
    one.read(Encoder().encode([(b"x", b"y" * 4000)]))
    for _ in range(5):
        one.read(b"\xbe" * 5)
    assert 20_000 < one.memory.used < 30_000
    for _ in range(5):
        one.read(b"\xbe" * 8)
    assert one.memory.used < 30_000


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\xbe", Code.COMPRESSION_ERROR),
        (b"\x80", Code.COMPRESSION_ERROR),
        (b"\x40", Code.COMPRESSION_ERROR),
        (b"\x40\1", Code.COMPRESSION_ERROR),
        (b"\x40\1x\x81\xff", Code.COMPRESSION_ERROR),
        (b"\x82\x20", Code.COMPRESSION_ERROR),
        (b"\x20\x20\x20", Code.COMPRESSION_ERROR),
        (b"\0\1x\1y" * 20_000, Code.ENHANCE_YOUR_CALM),
        (b"\0\0\0" * 3_000, Code.ENHANCE_YOUR_CALM),
    ],
)
def test_what_is_no_head(block, code):
    for read in (lambda heads: heads.read(block, True), lambda heads: heads.decode(block)):
        with pytest.raises(Fault) as caught:
            read(Heads(LONGEST, mean, Memory()))
        assert caught.value.code is code


def test_remembered_or_not_the_meaning_is_one():
    """Random heads of clients that use the table as they like, each again and again."""
    chosen = random.Random(3)
    for _ in range(30):
        one, plain, client = Reading(), Http2Decoder(LONGEST), Http2Encoder()
        names = [b":path", b"x-a", b"x-b", b"cookie"]
        heads = [
            [(chosen.choice(names), b"%d" % chosen.randrange(9)) for _ in range(chosen.randrange(1, 6))]
            for _ in range(4)
        ]
        for _ in range(200):
            if chosen.random() < 0.02:
                client.header_table_size = chosen.choice([0, 60, 200, 4096])
            block = client.encode(chosen.choice(heads))
            ended = chosen.random() < 0.5
            assert one.read(block, ended) == plain.decode(block, raw=True)
            assert one.heads._decoder.header_table.dynamic_entries == plain.header_table.dynamic_entries
        assert 0 < len(one.meant) < 200


# -- what is written --------------------------------------------------------------------------------------

OK = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"x-a", b"b")]


class Writing:
    """Heads that go, to a client that reads them."""

    def __init__(self):
        self.heads = Heads(LONGEST, mean, Memory())
        self.client = Decoder(10**6)

    def read(self, block):
        return self.client.decode(block, raw=True)


def test_head_that_goes_again():
    one, written = Writing(), None
    for number in range(6):
        value = b"%016d" % number
        block = None if written is None else one.heads.again(written, value)
        assert (block is not None) == (number > 1)
        if block is None:
            block, written = one.heads.write_again(OK, b"x-request-id", value)
        assert one.read(block) == [*OK, (b"x-request-id", value)]
        assert one.client.header_table.dynamic_entries == one.heads._encoder.header_table.dynamic_entries


def test_head_without_a_last_field_goes_again():
    one = Writing()
    one.read(one.heads.write(OK))
    block, written = one.heads.write_again(OK)
    assert one.heads.again(written, b"") == block
    assert one.read(block) == OK


@pytest.mark.parametrize("change", ["a field", "a size", "the length"])
def test_head_that_would_be_another_does_not_go_again(change):
    one, value = Writing(), b"0123"
    for _ in range(2):
        block, written = one.heads.write_again(OK, b"x-request-id", value)
        one.read(block)
    assert written is not None
    assert one.heads.again(written, value) is not None
    if change == "a field":
        one.read(one.heads.write([(b"date", b"now")]))
    elif change == "a size":
        one.heads.resize([100])
    else:
        value = b"01234"
    assert one.heads.again(written, value) is None
    block, _ = one.heads.write_again(OK, b"x-request-id", value)
    assert one.read(block) == [*OK, (b"x-request-id", value)]


def test_change_of_size_is_told_once():
    """It is in the first head behind it, which must not go again."""
    one = Writing()
    for number in range(4):
        if number == 2:
            one.heads.resize([1000])
        block, written = one.heads.write_again(OK, b"x-request-id", b"%d" % number)
        assert (block[0] & 0xE0 == 0x20) == (number == 2)
        assert (written is None) == (number in (0, 2))
        one.read(block)


def test_peer_without_a_table():
    one = Writing()
    one.heads.resize([0])
    for number in range(4):
        block, written = one.heads.write_again(OK, b"x-request-id", b"%d" % number)
        assert written is None
        assert one.read(block) == [*OK, (b"x-request-id", b"%d" % number)]


def test_value_that_is_in_the_table_goes_all_the_same():
    one = Writing()
    for value in (b"same", b"same", b"same"):
        block, _ = one.heads.write_again(OK, b"x-request-id", value)
        assert one.read(block) == [*OK, (b"x-request-id", value)]
