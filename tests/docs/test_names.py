"""The tests that the docs name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["security.md", "failures.md"])
def test_every_test_that_a_page_names_exists(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert files
    assert [file for file in sorted(files) if not (ROOT / file).is_file()] == []
    everything = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", everything))
    assert sorted(set(re.findall(r"`(test_\w+)`", text)) - there) == []


def test_named_tests_are_in_the_file_that_is_named_before_them():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for file, tests in re.findall(r"`(tests/[\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", text):
        source = (ROOT / file).read_text(encoding="utf-8")
        for test in re.findall(r"test_\w+", tests):
            assert f"def {test}(" in source, f"{test} is not in {file}"
