"""Tests for L{burrow.protocols.files.ranges}, by the words of RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burrow.http.headers import Headers
from burrow.protocols.files.ranges import MAX_RANGES, Unsatisfiable, Validators

DAY = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
FILE = Validators(1000, DAY * 10**9 + 5, 7)


def ranges(value, file=FILE, now=DAY + 100.0, **others):
    fields = [(b"Range", value)] + [(b"If-Range", other) for other in others.values()]
    try:
        return file.ranges(Headers(fields), now)
    except Unsatisfiable:
        return "unsatisfiable"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"bytes=0-499", [(0, 500)]),
        (b"bytes=500-", [(500, 500)]),
        (b"bytes=-500", [(500, 500)]),
        (b"bytes=-5000", [(0, 1000)]),
        (b"bytes=999-5000", [(999, 1)]),
        (b"Bytes = 0-0", [(0, 1)]),
        (b"bytes=0-0,-1", [(0, 1), (999, 1)]),
        (b"bytes=500-600, 601-999,", [(500, 101), (601, 399)]),
        (b"bytes=0-0,1000-", [(0, 1)]),
        (b"bytes=1000-", "unsatisfiable"),
        (b"bytes=-0", "unsatisfiable"),
        (b"bytes=5000-6000,-0", "unsatisfiable"),
        (b"bytes=5-4", None),
        (b"bytes=", None),
        (b"bytes=a-b", None),
        (b"bytes=-", None),
        (b"bytes=1-2-3", None),
        (b"bytes=" + b"9" * 20 + b"-", None),
        (b"lines=0-5", None),
        (b"0-5", None),
        (b"bytes=0-10,5-20", None),
        (b"bytes=" + b",".join(b"%d-%d" % (at * 2, at * 2) for at in range(MAX_RANGES)), "all"),
        (b"bytes=" + b",".join(b"%d-%d" % (at * 2, at * 2) for at in range(MAX_RANGES + 1)), None),
    ],
)
def test_what_is_sent(value, wanted):
    got = ranges(value)
    if wanted == "all":
        assert len(got) == MAX_RANGES
    else:
        assert got == wanted


def test_an_empty_file():
    empty = Validators(0, DAY, 7)
    assert ranges(b"bytes=0-", empty) == "unsatisfiable"
    assert ranges(b"bytes=-5", empty) is None


def test_if_range():
    whole = [(0, 1)]
    assert ranges(b"bytes=0-0", one=FILE.tag) == whole
    assert ranges(b"bytes=0-0", one=b'"other"') is None
    assert ranges(b"bytes=0-0", one=b"W/" + FILE.tag) is None  # weak ones never match
    assert ranges(b"bytes=0-0", one=DATE) == whole
    assert ranges(b"bytes=0-0", one=BEFORE) is None
    assert ranges(b"bytes=0-0", one=b"nonsense") is None
    assert ranges(b"bytes=0-0", now=DAY + 0.5, one=DATE) is None  # may change within that second


@given(st.binary(max_size=60), st.integers(0, 2000))
def test_any_value(value, size):
    try:
        got = Validators(size, DAY, 1).ranges(Headers([(b"Range", b"bytes=" + value)]), DAY)
    except Unsatisfiable:
        return
    for start, length in got or ():
        assert 0 <= start < start + length <= size


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_a_first_and_a_last_byte_are_what_a_slice_is(size, first, last):
    data = bytes(size)
    got = ranges(b"bytes=%d-%d" % (first, last), Validators(size, DAY, 1))
    if last < first:
        assert got is None
    elif first >= size:
        assert got == "unsatisfiable"
    else:
        assert got == [(first, len(data[first : last + 1]))]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ([], 200),
        ([(b"If-None-Match", FILE.tag)], 304),
        ([(b"If-None-Match", b"W/" + FILE.tag)], 304),
        ([(b"If-None-Match", b'"a", "b,c" , ' + FILE.tag)], 304),
        ([(b"If-None-Match", b'"a"'), (b"If-None-Match", FILE.tag)], 304),
        ([(b"If-None-Match", b"*")], 304),
        ([(b"If-None-Match", b'"a"')], 200),
        ([(b"If-None-Match", FILE.tag.strip(b'"'))], 200),
        ([(b"If-None-Match", b'"a"'), (b"If-Modified-Since", DATE)], 200),  # the first counts
        ([(b"If-Modified-Since", DATE)], 304),
        ([(b"If-Modified-Since", BEFORE)], 200),
        ([(b"If-Modified-Since", b"yesterday")], 200),
        ([(b"If-Match", FILE.tag)], 200),
        ([(b"If-Match", b"*")], 200),
        ([(b"If-Match", b'"a"')], 412),
        ([(b"If-Match", b"W/" + FILE.tag)], 412),
        ([(b"If-Match", FILE.tag), (b"If-Unmodified-Since", BEFORE)], 200),
        ([(b"If-Match", FILE.tag), (b"If-None-Match", FILE.tag)], 304),
        ([(b"If-Unmodified-Since", BEFORE)], 412),
        ([(b"If-Unmodified-Since", DATE)], 200),
    ],
)
def test_conditions(fields, wanted):
    assert FILE.condition(b"GET", Headers(fields)) == wanted


def test_each_state_has_a_tag_of_its_own():
    states = [FILE, Validators(1001, FILE.modified, 7), Validators(1000, FILE.modified + 1, 7)]
    states.append(Validators(1000, FILE.modified, 8))
    assert len({state.tag for state in states}) == 4
