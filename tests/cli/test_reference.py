"""docs/cli.md says what the code does: it is written from it (scripts/reference.py)."""

from tests.scripts import load


def test_docs_are_what_the_parsers_say():
    reference = load("reference")
    assert reference.DOCS.read_text(encoding="utf-8") == reference.reference(), "run scripts/reference.py"
