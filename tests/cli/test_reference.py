"""docs/cli.md says what the code does: it is written from it (scripts/reference.py)."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "reference.py"


def test_docs_are_what_the_parsers_say():
    spec = importlib.util.spec_from_file_location("reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.DOCS.read_text(encoding="utf-8") == module.reference(), "run scripts/reference.py"
