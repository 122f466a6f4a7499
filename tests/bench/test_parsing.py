"""bench: what wrk and the kernel print, and what the command line chooses."""

import argparse
import os

import pytest

from bench import rows, subjects
from bench.__main__ import choose, left_out
from bench.load import LoadFailed, parse_h2load, parse_wrk, percentile
from bench.processes import parse_stat
from bench.rows.tcp import parse_iperf, parse_pgbench, parse_redis
from bench.subjects import Burrow, Setup, other_checkout
from bench.subjects.burrow import WatchedBurrow
from bench.subjects.frp import FrpWebSocket
from bench.subjects.nginx import Nginx

WRK = """Running 2s test @ http://127.0.0.1:8000/
  2 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.39ms  512.00us  12.00ms   90.00%
    Req/Sec    11.60k     1.02k   13.00k    70.00%
  Latency Distribution
     50%  870.00us
     75%    1.50ms
     90%    2.10ms
     99%    1.02s
  46258 requests in 2.00s, 57.00MB read
Requests/sec:  23110.55
Transfer/sec:     28.47MB
"""


def test_wrk_tells_rate_and_latency_in_ms():
    assert parse_wrk(WRK) == (23110.55, 0.87, 1020, 46258)


@pytest.mark.parametrize(
    "line", ["Non-2xx or 3xx responses: 12", "Socket errors: connect 0, read 3, write 0, timeout 0"]
)
def test_requests_that_fail_are_no_figure(line):
    with pytest.raises(LoadFailed, match=line):
        parse_wrk(WRK + line)


def test_no_requests_are_no_figure():
    with pytest.raises(LoadFailed, match="no request"):
        parse_wrk(WRK.replace("46258 requests", "0 requests"))


H2LOAD = """finished in 3.00s, 2201.33 req/s, 2.51MB/s
requests: 6604 total, 6704 started, 6604 done, 6604 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 6610 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_h2load_tells_rate_and_count():
    assert parse_h2load(H2LOAD) == (2201.33, 6604)


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("0 failed", "3 failed"),
        ("0 errored", "3 errored"),
        ("6610 2xx", "6000 2xx"),
        ("6604 succeeded", "0 succeeded"),
        ("req/s", "x"),
    ],
)
def test_http2_requests_that_fail_are_no_figure(said, instead):
    with pytest.raises(LoadFailed):
        parse_h2load(H2LOAD.replace(said, instead))


def test_percentiles():
    values = [float(value) for value in range(100)]
    assert percentile(values, 50) == 49.5
    assert percentile(values, 99) == 99
    assert percentile([1.0], 99) == 1
    with pytest.raises(LoadFailed):
        percentile([], 50)


def test_the_cpu_of_a_process_counts_its_threads_and_its_ended_children():
    tail = "S 1 2 2 0 -1 4194560 500 0 0 0 100 20 30 4 20 0 1 0 12345 1000000 50"
    stat = parse_stat(f"2 (a name) with ) in it) {tail}")
    assert stat.cpu == 154 / os.sysconf("SC_CLK_TCK")
    assert stat.memory == 50 * os.sysconf("SC_PAGE_SIZE")


def test_rows_are_chosen_by_name_and_by_family():
    parser = argparse.ArgumentParser()
    assert choose(rows.ALL, None, parser) == list(rows.ALL)
    assert [row.name for row in choose(rows.ALL, "one,bulk", parser)] == ["one", "bulk", "bulk-tls"]
    with pytest.raises(SystemExit):
        choose(rows.ALL, "one,two", parser)


def test_names_of_rows_and_subjects_are_unique_and_metrics_too():
    for names in ([row.name for row in rows.ALL], [subject.name for subject in subjects.ALL]):
        assert len(names) == len(set(names))
    for row in rows.ALL:
        keys = [metric.key for metric in row.metrics]
        assert len(keys) == len(set(keys)), row.name


def test_a_subject_takes_the_rows_that_it_is_capable_of():
    assert Nginx.serves(Setup(("web",), tls=True))
    assert not Nginx.serves(Setup(("web", "redis")))
    assert all(row().takes(Burrow) or row().takes(WatchedBurrow) for row in rows.ALL)


def test_another_checkout_is_a_subject_of_its_own(tmp_path):
    before = other_checkout(tmp_path)
    assert (before.name, before.root) == ("before", tmp_path)
    assert before.can == Burrow.can
    assert Burrow.root != tmp_path


def test_pgbench_redis_benchmark_and_iperf3_are_read():
    assert parse_pgbench("latency = 1 ms\ntps = 23208.5 (without initial connection time)\n") == 23208.5
    assert parse_redis('"test","rps","avg"\n"SET","69284.06","0.4"\n') == 69284.06
    assert parse_iperf('{"end": {"sum_received": {"bits_per_second": 8e9}}}') == 1000
    for parse in (parse_pgbench, parse_redis):
        with pytest.raises(LoadFailed):
            parse("nothing")


def test_special_subjects_are_measured_where_they_are_named():
    taking = {row.name for row in rows.ALL if row().takes(FrpWebSocket)}
    assert taking == {"bulk-tls"}


def test_another_checkout_is_measured_where_burrow_is(tmp_path):
    before = other_checkout(tmp_path)
    assert [row.name for row in rows.ALL if not row().takes(before)] == []


def test_rows_that_no_subject_takes_say_which_do():
    every = [row() for row in (*rows.ALL, *rows.SCALE)]
    assert left_out(every, list(subjects.ALL)) == []
    assert left_out([rows.Looking()], [Burrow]) == [
        "looking is left out: none of the subjects takes it; write --subjects watched"
    ]
    said = dict(text.split(" is left out: ", 1) for text in left_out(every, [Burrow]))
    assert "looking" in said
    assert "requests" not in said
    for text in said.values():
        assert not text.endswith("--subjects ")
    assert len(left_out(every, [])) == len(every)
