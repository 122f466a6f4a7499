"""The way of one request does not grow: calls into burrow/, files and changes of file, by scripts/calls."""

import json
import subprocess
import sys

import pytest

from tests.scripts import SCRIPTS, load

MORE = 1.1
"""How much more than was recorded is allowed."""

ADVICE = "look at `scripts/calls --list`; if it has to be so, record it: `scripts/calls --record`"

calls = load("calls")


@pytest.fixture(scope="module")
def counted():
    """The counts of now."""
    command = [sys.executable, str(SCRIPTS / "calls.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", calls.KINDS)
@pytest.mark.parametrize("way", ["there", "back"])
def test_a_request_takes_no_more_calls_than_recorded(counted, kind, way):
    recorded = calls.recorded()[kind]
    for field in calls.Counts._fields:
        now, before = counted[kind][way][field], getattr(recorded[way], field)
        assert 0 < now <= before * MORE, f"{kind}, {way}: {now} {field} instead of {before}; {ADVICE}"
    both = sum(counted[kind][one]["calls"] for one in (way, "after " + way))
    before = sum(recorded[one].calls for one in (way, "after " + way))
    assert both <= before * MORE, f"{kind}, {way} and after it: {both} calls instead of {before}; {ADVICE}"


def test_calls_files_and_changes_of_file_are_counted():
    seen = [("a", "f"), ("a", "g"), ("", "a socket is read"), ("b", "h"), ("a", "f"), ("a", "f")]
    assert calls.count([calls.Call(*one) for one in seen]) == (5, 2, 2)
    assert calls.count([]) == (0, 0, 0)


def test_a_trace_is_split_behind_the_last_write():
    seen = [calls.Call("", "w"), calls.Call("a", "f"), calls.Call("", "w"), calls.Call("a", "g")]
    assert calls.split(seen, "w") == (seen[:3], seen[3:])
    with pytest.raises(RuntimeError):
        calls.split(seen, "r")


def test_the_shortest_trace_that_comes_again_counts():
    short, long = [[calls.Call("a", "f")] * number for number in (1, 2)]
    traces = [dict.fromkeys(calls.WAYS, one) for one in (short, long, long, long, short)]
    assert calls.undisturbed(traces[:4])["there"] == long
    assert calls.undisturbed(traces)["there"] == short
    assert calls.undisturbed(traces[:2])["there"] == short


def test_what_is_recorded_is_read_again():
    before = calls.recorded()
    assert list(before) == list(calls.KINDS)
    assert calls.tomllib.loads(calls.toml(before)) == {
        kind: {way: numbers._asdict() for way, numbers in ways.items()} for kind, ways in before.items()
    }
