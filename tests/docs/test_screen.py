"""Tests for docs/screen.md: it names the keys, the words of the filter, and what an event has."""

import json
import re
from pathlib import Path

from burrow.cli.screen import MAX_WAITING
from burrow.client.screen.controls import Controls
from burrow.client.screen.lines import JsonLines
from burrow.client.screen.rows import KEPT
from burrow.client.screen.view import WIDE
from burrow.traffic.filter import _IS, _KEYS, Filter
from burrow.traffic.record import Record

TEXT = (Path(__file__).parents[2] / "docs" / "screen.md").read_text(encoding="utf-8")


def test_keys_are_named():
    for key in Controls._KEYS:
        if len(key) == 1 and key not in "h ":  # those are other keys' too
            assert f"`{key}`" in TEXT, key


def test_the_filter_language():
    table = TEXT.split("## The filter language")[1]
    for key in _KEYS:
        assert f"`{key}:" in table, key
    for word in _IS:
        assert f"`is:{word}`" in table, word
    for word in re.findall(r"`([^`]+)`", table.partition("| --- | --- |")[2]):
        Filter(word)


def test_an_event():
    (example,) = re.findall(r"```json\n(.*)\n```", TEXT)
    lines = []
    JsonLines(lines.append).ended(Record("http", "blog", "203.0.113.9:50000"))
    assert list(json.loads(example)) == list(json.loads(lines[0]))


def test_numbers():
    assert f"the newest {KEPT} requests" in TEXT
    assert f"With {WIDE} columns" in TEXT
    assert f"up to {MAX_WAITING // 2**20} MiB" in TEXT
