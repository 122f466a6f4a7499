"""What L{tests.conformance.verdicts} calls a difference."""

from tests.conformance.verdicts import Comparison, Finding


def test_same_verdicts_hold():
    same = {"1": "pass", "2": "pass, slowly"}
    comparison = Comparison("suite", same, dict(same))
    assert comparison.holds
    assert comparison.lines() == ["suite: 2 cases, 2 pass, 0 differ"]


def test_difference_is_found():
    comparison = Comparison("suite", {"1": "pass", "2": "pass"}, {"1": "pass", "2": "fail"})
    assert not comparison.holds
    assert comparison.findings == [Finding("2", "pass", "fail", "")]
    assert comparison.lines() == [
        "suite: 2 cases, 1 pass, 1 differ",
        "    2: directly pass, through the tunnel fail: NOT EXPLAINED",
    ]


def test_explained_difference_holds():
    comparison = Comparison("suite", {"1": "pass"}, {"1": "fail"}, explained={"1": "as RFC 9113 says"})
    assert comparison.holds
    assert comparison.lines()[1] == "    1: directly pass, through the tunnel fail: as RFC 9113 says"


def test_failure_both_ways_is_found():
    comparison = Comparison("suite", {"1": "fail"}, {"1": "fail"})
    assert not comparison.holds
    assert comparison.lines() == ["suite: 1 cases, 0 pass, 0 differ", "    1: fail: NOT EXPLAINED"]


def test_case_of_one_run_alone_is_a_difference():
    assert not Comparison("suite", {"1": "pass", "2": "pass"}, {"1": "pass"}).holds
    assert not Comparison("suite", {"1": "pass"}, {"1": "pass", "2": "pass"}).holds


def test_suite_without_cases_does_not_hold():
    assert not Comparison("suite", {}, {}).holds


def test_many_findings_are_cut():
    failing = {str(number): "fail" for number in range(50)}
    lines = Comparison("suite", failing, failing).lines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "    and 30 more"


def test_explanation_of_what_passes_does_not_hold():
    comparison = Comparison("suite", {"1": "pass"}, {"1": "pass"}, explained={"1": "was so once"})
    assert not comparison.holds
