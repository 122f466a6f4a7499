"""What is said where a suite cannot be had, is not known, or fails. scripts/conformance runs the suites."""

import subprocess

import pytest

from tests.conformance import __main__ as command
from tests.conformance import suites
from tests.conformance.http2 import _reported


@pytest.fixture
def no_programs(monkeypatch):
    monkeypatch.setattr(suites.shutil, "which", lambda name: None)


def test_program_that_is_missing(no_programs):
    with pytest.raises(suites.Missing, match="there is no h2load here: install nghttp2-client"):
        suites.program("h2load", "nghttp2-client")


def test_python_2_that_is_missing(no_programs, monkeypatch, tmp_path):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(suites.Missing, match=r"pyenv install 2\.7\.18"):
        suites.python2()


def test_build_that_fails_says_what_it_said(tmp_path):
    with pytest.raises(suites.Missing, match=r"^sh -c echo no network; exit 3 failed:\nno network"):
        suites.build(["sh", "-c", "echo no network; exit 3"], tmp_path)


def test_build_that_takes_too_long(monkeypatch, tmp_path):
    def run(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(suites.subprocess, "run", run)
    with pytest.raises(suites.Missing, match="go took more than 1200 s; run it again"):
        suites.build(["go"], tmp_path)


def test_suite_that_is_not_known(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["conformance", "h3spec"])
    with pytest.raises(SystemExit) as exit:
        command.main()
    assert exit.value.code == 2
    assert "no suite is called h3spec; there are: grpc-go," in capsys.readouterr().err


def test_suite_that_cannot_be_had(monkeypatch, capsys):
    def missing(tunnels):
        raise suites.Missing("there is no go here: install Go")

    monkeypatch.setitem(command.SUITES, "grpc-go", missing)
    monkeypatch.setattr("sys.argv", ["conformance", "grpc-go"])
    assert command.main() == 2
    assert capsys.readouterr().out == "grpc-go: not run: there is no go here: install Go\n"


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1)])
def test_exit_code(monkeypatch, verdict, code):
    def run(tunnels):
        return [command.Comparison("one", {"1": "pass"}, {"1": verdict})]

    monkeypatch.setitem(command.SUITES, "h2spec", run)
    monkeypatch.setattr("sys.argv", ["conformance", "h2spec"])
    assert command.main() == code


def test_report_of_h2spec(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase package="http2/3.5" classname="Sends a preface"></testcase>'
        '<testcase package="http2/4.1" classname="Sends a frame"><failure>GOAWAY\nExpected</failure>'
        "</testcase>"
        "</testsuite></testsuites>"
    )
    assert _reported(report) == {
        "http2/3.5 Sends a preface": "pass",
        "http2/4.1 Sends a frame": "failure: GOAWAY Expected",
    }
