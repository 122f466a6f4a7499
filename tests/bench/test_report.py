"""bench.report: medians, ratios, goals, the table and the JSON."""

import json

import pytest

from bench.report import Report, show
from bench.rows import Goal, Metric

RATE = Metric("rate", "requests", "1/s", (Goal(3.5, "frp"), Goal(0.5, "nginx"), Goal(1, "best")))
TIME = Metric("p50", "p50", "ms", (Goal(1, "frp"), Goal(0.5)), less=True)


@pytest.fixture
def report():
    made = Report(["burrow", "nginx", "frp", "chisel"])
    made.declare("requests", (RATE, TIME))
    made.add("requests", "burrow", {"rate": 900, "p50": 0.5, "not declared": 1})
    made.add("requests", "burrow", {"rate": 1000, "p50": 0.5})
    made.add("requests", "burrow", {"rate": 5000, "p50": 0.5})
    made.add("requests", "nginx", {"rate": 2000, "p50": 0.1})
    made.add("requests", "frp", {"rate": 500, "p50": 1.0})
    made.add("requests", "chisel", {"rate": 4000})
    return made


def test_the_median_counts(report):
    assert report.results["requests", "rate"].median("burrow") == 1000
    assert report.results["requests", "rate"].median("direct") is None


def test_more_than_one_is_better_whatever_the_unit(report):
    assert report.results["requests", "rate"].ratio("nginx") == 0.5
    assert report.results["requests", "p50"].ratio("frp") == 2
    assert report.results["requests", "p50"].ratio("nginx") == pytest.approx(0.2)


def test_goals_refer_to_a_subject_to_the_best_peer_or_to_a_figure(report):
    rate, time = report.results["requests", "rate"], report.results["requests", "p50"]
    assert [rate.target(goal) for goal in RATE.goals] == [1750, 1000, 4000]
    assert [rate.reached(goal) for goal in RATE.goals] == [pytest.approx(0.571, abs=1e-3), 1, 0.25]
    assert [time.reached(goal) for goal in TIME.goals] == [2, 1]


def test_what_was_not_measured_has_no_ratio():
    report = Report(["burrow", "frp"])
    report.declare("requests", (RATE, TIME))
    report.add("requests", "burrow", {"rate": 1, "p50": 0})
    result = report.results["requests", "rate"]
    assert [result.reached(goal) for goal in RATE.goals] == [None, None, None]
    assert report.results["requests", "p50"].reached(Goal(0.5)) is None  # nothing is so many times 0
    assert "nginx" in report.table()


def test_the_table_is_markdown_of_one_width(report):
    report.notes.append("piko is not here")
    text = report.table()
    first, second, note = text.split("\n\n")
    for table in (first, second):
        assert len({len(line) for line in table.splitlines()}) == 1
    assert "| requests |  1/s |  1,000 | 2,000 | 500 |  4,000 |" in first
    assert "3.5 x frp = 1,750; 0.5 x nginx = 1,000; best = 4,000" in second
    assert "0.571; 1; 0.25" in second
    assert note == "Note: piko is not here"


def test_json_has_all_figures(report, tmp_path):
    report.write(tmp_path / "out.json", {"date": "today"})
    read = json.loads((tmp_path / "out.json").read_text())
    assert read["date"] == "today"
    rate = read["results"][0]
    assert rate["figures"]["burrow"] == [900, 1000, 5000]
    assert rate["medians"]["burrow"] == 1000
    assert rate["wanted"][1] == {"factor": 0.5, "of": "nginx", "target": 1000, "reached": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0, "0"), (0.00012, "0.0001"), (0.4567, "0.457"), (12.345, "12.3"), (12345.6, "12,346")],
)
def test_three_digits_are_shown(value, text):
    assert show(value) == text
