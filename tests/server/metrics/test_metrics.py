"""Tests for L{burrow.server.metrics}: what is told, and in which form."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from burrow.errors import StoreError
from burrow.server.metrics.exposition import HOSTS, exposition, readable
from burrow.server.metrics.measure import _process
from burrow.server.metrics.stored import MeasuredStore
from burrow.server.nodes.asking import UNREADABLE
from burrow.store.memory import MemoryStore
from burrow.traffic.counts import BOUNDS, Counts, Times

DOCS = Path(__file__).parents[3] / "docs"


def measured(**changes):
    counts, times = Counts(), Times()
    for status, seconds in ((200, 0.001), (200, 0.3), (404, 0.02), (0, 1000.0)):
        counts.ended(status, seconds)
    times.took(7.0)
    return {
        "version": "1.2",
        "started": 1000.0,
        "draining": 0,
        "tunnels": {"http": 2},
        "sessions": {"attached": 1, "detached": 0},
        "streams": 3,
        "visitors": {"http": 4, "tcp": 0},
        "requests": {str(number): count for number, count in enumerate(counts.by_class) if number < 6},
        "request_times": counts.times,
        "request_seconds": counts.seconds,
        "connections": times.times,
        "connection_seconds": times.seconds,
        "refused": 8,
        "waiting": 1,
        "waited": {"served": 2, "given up": 3},
        "waited_seconds": 4.5,
        "carried": {"received": 10, "sent": 20},
        "resumes": 5,
        "links": 1,
        "events": {"agent-connected": 6},
        "counts": {"redis": {"refused": 9}},
        "store": {"notes": [7, 0.5, 1]},
        "process": _process(),
        **changes,
    }


def certificate(host, ends, state="valid"):
    return {"host": host, "not_after": ends, "state": state}


def text(**changes):
    told = {"n1": measured(), "n2": measured(**changes)}
    certificates = [
        certificate("b.example.com", "2027-01-01T00:00:00Z"),
        certificate("a.example.com", "2026-12-01T00:00:00Z", "due"),
        certificate("c.example.com", None, "failed"),
    ]
    kind, data = exposition(told, ["n3"], certificates, "")
    assert kind.startswith("text/plain")
    return data.decode()


def samples(told):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }


def test_samples():
    told = samples(text(streams=9))
    assert told["burrow_streams", ("node", "n1")] == 3
    assert told["burrow_streams", ("node", "n2")] == 9
    assert told["burrow_requests_total", ("node", "n1"), ("status", "2xx")] == 2
    assert told["burrow_requests_total", ("node", "n1"), ("status", "none")] == 1
    assert told["burrow_request_seconds_count", ("node", "n1")] == 4
    assert told["burrow_request_seconds_bucket", ("le", "0.025"), ("node", "n1")] == 2
    assert told["burrow_request_seconds_bucket", ("le", "300.0"), ("node", "n1")] == 3
    assert told["burrow_request_seconds_bucket", ("le", "+Inf"), ("node", "n1")] == 4
    assert told["burrow_node_up", ("node", "n3")] == 0
    assert told["burrow_store_errors_total", ("node", "n1"), ("operation", "notes")] == 1
    assert told["burrow_kind_counts_total", ("kind", "redis"), ("node", "n2"), ("what", "refused")] == 9
    assert told["burrow_certificates", ("state", "failed")] == 1
    assert told["burrow_certificate_expiry_timestamp_seconds", ("host", "b.example.com")] == 1798761600


def test_openmetrics_is_told_to_who_asks():
    kind, data = exposition({"n1": measured()}, [], [], "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert data.endswith(b"# EOF\n")


def test_hosts_are_bounded():
    certificates = [certificate(f"{n}.example.com", f"2027-01-01T00:{n % 60:02}:00Z") for n in range(1000)]
    _, data = exposition({}, [], certificates, "")
    assert data.count(b"\nburrow_certificate_expiry_timestamp_seconds{") == HOSTS


def test_another_release_that_tells_less_is_shown():
    less = measured()
    del less["resumes"], less["waited"]
    exposition({"n1": less}, [], [], "")


def promtool(*arguments, told=""):
    done = subprocess.run(
        ["promtool", *arguments], input=told, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def test_promtool_finds_nothing_wrong():
    assert promtool("check", "metrics", told=text()) == (0, "")


def test_alert_rules_are_right():
    code, said = promtool("check", "rules", str(DOCS / "monitoring" / "alerts.yml"))
    assert code == 0, said
    code, said = promtool("test", "rules", str(DOCS / "monitoring" / "alerts_test.yml"))
    assert code == 0, said


def test_configuration_is_right():
    file = str(DOCS / "monitoring" / "prometheus.yml")
    code, said = promtool("check", "config", "--syntax-only", file)
    assert code == 0, said


NAME = re.compile(r"\bburrow_[a-z_]+")


def known():
    return {key[0] for key in samples(text())}


def test_every_metric_in_the_docs_exists():
    names = set(NAME.findall((DOCS / "monitoring.md").read_text()))
    histograms = {"burrow_request_seconds", "burrow_connection_seconds"}
    assert names - known() - histograms == set()
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in known()}
    assert families - names == set(), "docs/monitoring.md has to tell of these"


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_every_metric_that_is_asked_for_exists(file):
    names = set(NAME.findall((DOCS / "monitoring" / file).read_text()))
    assert names
    assert names - known() == set()


def test_every_query_of_the_dashboard_is_promql(tmp_path):
    dashboard = json.loads((DOCS / "monitoring" / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 20
    rules = [
        {"record": f"query:{n}", "expr": each.replace("$__rate_interval", "5m")}
        for n, each in enumerate(queries)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", "--lint=none", str(file))
    assert code == 0, said
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_buckets_have_their_bounds():
    times = Times()
    for bound in BOUNDS:
        times.took(bound)
        times.took(bound + 0.0001)
    assert times.times == [1, *[2] * (len(BOUNDS) - 1), 1]


def test_store_is_measured():
    clock, inner = Clock(), MemoryStore()
    store = MeasuredStore(clock, inner)
    waiting = Deferred()
    inner.notes = lambda space: waiting
    asked = store.notes("events")
    clock.advance(2)
    waiting.callback({"a": "b"})
    assert asked.result == {"a": "b"}
    store.token("x")
    assert store.counts.count == {"notes": 1, "token": 1}
    assert store.counts.seconds["notes"] == 2
    assert not store.counts.errors


def test_errors_of_the_store_are_counted_and_passed_on():
    inner = MemoryStore()
    store = MeasuredStore(Clock(), inner)
    inner.notes = lambda space: succeed(None).addCallback(lambda _: (_ for _ in ()).throw(StoreError("away")))
    told = []
    store.notes("events").addErrback(told.append)
    assert told[0].check(StoreError)
    assert store.counts.errors == {"notes": 1}


def test_what_is_no_operation_is_the_stores_own():
    inner = MemoryStore()
    store = MeasuredStore(Clock(), inner)
    inner.own = lambda: "own"
    assert store.own() == "own"
    assert not store.counts.count


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], {}),
        {key: value for key, value in measured().items() if key != "store"},
        measured(connections=[0, 0]),
        measured(request_times=[0] * 30),
    ],
)
def test_measures_of_another_release_that_cannot_be_read_are_left_out(answer):
    with pytest.raises(UNREADABLE):
        readable(answer)


def test_measures_that_another_release_has_beside_are_left_out():
    one = measured()
    newer = readable({**one, "newer": {"a": 1}})
    assert exposition({"one": newer}, [], [], "") == exposition({"one": one}, [], [], "")
