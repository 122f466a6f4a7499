"""The page's filter language is the one of burrow/traffic/filter.py."""

import json
import subprocess
from importlib.resources import files

import pytest

from burrow.traffic.filter import Filter
from burrow.traffic.record import Record
from tests.programs import program

SCRIPT = """
import { filter } from %s;
import { readFileSync } from "node:fs";
const { texts, items } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(texts.map((text) => {
  let test;
  try { test = filter(text); } catch (error) { return error.message; }
  return items.map((item) => test(item));
})));
"""

ITEMS = [
    {"method": "GET", "target": "/", "status": 200, "sent": 12, "took": 0.004},
    {"method": "POST", "target": "/hook/stripe?id=POST", "status": 500, "sent": 2_000_000, "took": 1.5},
    {
        "method": "GET",
        "target": "/API/v1/a.json",
        "status": 404,
        "sent": 999,
        "took": 0.6,
        "host": "api.example.com",
    },
    {"method": "GET", "target": "/live", "status": 101, "sent": 0, "took": None, "protocol": "websocket"},
    {
        "method": "",
        "target": "",
        "status": None,
        "sent": 70_000,
        "took": 61.0,
        "protocol": "tcp",
        "tunnel": "db",
    },
    {"method": "PUT", "target": "/a/b/a", "status": None, "sent": 5, "took": 3.0, "error": "the agent left"},
]
FIELDS = {
    "protocol": "http",
    "tunnel": "blog",
    "visitor": "203.0.113.9:5000",
    "host": "blog.example.com",
    "error": "",
}

TEXTS = [
    "",
    "   ",
    "status:404",
    "status:5xx",
    "status:>=400",
    "status:<300",
    "status:200,404",
    "-status:2xx",
    "status:abc",
    "status:20",
    "status:2xx,",
    "status:>5xx",
    "method:post",
    "method:GET,PUT",
    "path:/hook",
    "path:/api/*.json",
    "path:*",
    "path:/a/*/a",
    "path:/a*a*a",
    "path:*json*",
    "path:/*/*/*/*",
    "host:API",
    "tunnel:db",
    "visitor:203.0.113.9",
    "visitor:113",
    "-visitor:203",
    "is:open",
    "is:failed",
    "is:websocket",
    "is:tcp",
    "is:http",
    "is:nothing",
    "time:>500ms",
    "time:<2s",
    "time:>1m",
    "time:<=1.5s",
    "time:5",
    "time:>5h",
    "size:>1mb",
    "size:<1kb",
    "size:>=70000",
    "size:<10b",
    "size:mb",
    "hook",
    '"the agent"',
    '-"the agent"',
    '"unclosed the',
    "agent left",
    "localhost:3000",
    "404",
    "get",
    "PO",
    "tcp",
    "stauts:404",
    "statu:404",
    "methd:GET",
    "sizee:>1b",
    "pth:/",
    "http://x/",
    "-",
    "--x",
    "status: 404",
    "Status:404",
    "status:4xx path:/api -method:POST",
]


@pytest.fixture(scope="module")
def answers():
    module = (files("burrow.server.admin.dashboard") / "static" / "filter.js").as_uri()
    asked = {
        "texts": TEXTS,
        "items": [{**FIELDS, "began": "2026-11-26T12:00:00.000Z", **item} for item in ITEMS],
    }
    done = subprocess.run(
        [program("node"), "--input-type=module", "-e", SCRIPT % json.dumps(module)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return dict(zip(TEXTS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("text", TEXTS)
def test_it_means_the_same(answers, text):
    found = answers[text]
    try:
        wanted = Filter(text)
    except ValueError as error:
        assert isinstance(found, str), f"{text}: {error}"
        assert found.partition("; did you")[0].partition("did you")[0].strip("? ,") in str(error)
        return
    items = [{**FIELDS, **item} for item in ITEMS]
    if any(word in text for word in ("time:",)):
        items, found = (
            [item for item in items if item["took"] is not None],
            [one for one, item in zip(found, items, strict=True) if item["took"] is not None],
        )
    assert found == [wanted.matches(Record(**item)) for item in items]
