"""Tests for L{burrow.protocols.options}: what may be given to a tunnel, and what its server is told."""

import jsonschema
import pytest

from burrow.addresses import parse_port
from burrow.errors import ConfigError
from burrow.protocols.options import KeptValues, Side, kind_option, read_options, sent_options
from burrow.wording import COMMAND_LINE, FILE

OPTIONS = (
    kind_option("port", "the port", parse=parse_port, number=True),
    kind_option("size", "of a word", parse=float, number=True, least=1, most=40),
    kind_option("read-only", "refuse writes", False, side=Side.BOTH),
    kind_option("allow", "who may", many=True),
    kind_option("mode", "how", "slow", choices=("slow", "fast")),
    kind_option("ca", "a file", side=Side.AGENT),
    kind_option("key", "a secret", secret=True, parse=lambda text: (_ for _ in ()).throw(ValueError("no"))),
)
DEFAULTS = {
    "port": None,
    "size": None,
    "read-only": False,
    "allow": (),
    "mode": "slow",
    "ca": None,
    "key": None,
}


def test_what_is_not_given_has_its_default():
    assert read_options(OPTIONS, {}) == DEFAULTS
    assert read_options(OPTIONS, {"port": None, "allow": None}) == DEFAULTS
    assert sent_options(OPTIONS, DEFAULTS) == {}
    assert sent_options(OPTIONS, {}) == {}


def test_values_are_kept_beside_the_defaults_that_all_have():
    values = {**DEFAULTS, "mode": "fast", "newer": 1}
    kept = KeptValues(DEFAULTS, values)
    assert kept == values
    assert len(kept) == len(values)
    assert (kept["mode"], kept["allow"], kept.get("mode"), kept.get("allow", "x")) == ("fast", (), "fast", ())
    assert (kept.get("newer"), kept.get("no"), kept.get("no", "x")) == (1, None, "x")
    assert "mode" in kept
    assert "port" in kept
    assert "no" not in kept
    with pytest.raises(KeyError):
        kept["no"]
    assert sent_options(OPTIONS, kept) == {"mode": "fast"}
    assert KeptValues(DEFAULTS, {**DEFAULTS, "allow": None}).get("allow", "x") is None


@pytest.mark.parametrize(
    "given",
    [
        {"port": "80", "read-only": True, "allow": ["a", "b"], "mode": "fast", "ca": "x"},
        {"port": 80, "read-only": "yes", "allow": "a,b", "mode": "fast", "ca": "x"},
    ],
)
def test_values_of_command_lines_and_files(given):
    values = read_options(OPTIONS, given)
    assert values == {
        **DEFAULTS,
        "port": 80,
        "read-only": True,
        "allow": ("a", "b"),
        "mode": "fast",
        "ca": "x",
    }
    sent = sent_options(OPTIONS, values)
    assert sent == {"port": 80, "read-only": True, "allow": ["a", "b"], "mode": "fast"}
    assert read_options(OPTIONS, sent) == {**values, "ca": None}
    for each in OPTIONS:
        if each.key in sent:
            jsonschema.validate(sent[each.key], each.schema())


@pytest.mark.parametrize(
    ("given", "written", "words"),
    [
        ({"port": 0}, FILE, "port = 0 is not possible: write a port, 1 to 65535"),
        ({"port": "x"}, COMMAND_LINE, '--port "x" is not possible'),
        ({"port": True}, FILE, "port = true is not possible: write a number"),
        ({"port": [1]}, FILE, "port = [1] is not possible: write a number"),
        ({"size": 0.5}, FILE, "size = 0.5 is not possible: write a number from 1 to 40"),
        ({"size": "x"}, COMMAND_LINE, '--size "x" is not possible: write a number from 1 to 40'),
        ({"size": "nan"}, COMMAND_LINE, "write a number from 1 to 40"),
        ({"size": "inf"}, COMMAND_LINE, "write a number from 1 to 40"),
        ({"read-only": "perhaps"}, FILE, "write true or false"),
        ({"allow": [1]}, FILE, "write texts"),
        ({"mode": "fats"}, COMMAND_LINE, "did you mean fast?"),
        ({"reed-only": True}, FILE, "there is no option reed-only; did you mean read-only?"),
    ],
)
def test_wrong_values(given, written, words):
    with pytest.raises(ConfigError) as raised:
        read_options(OPTIONS, given, written)
    assert words in str(raised.value)


def test_a_secret_is_not_in_the_error():
    with pytest.raises(ConfigError) as raised:
        read_options(OPTIONS, {"key": "hunter2"})
    assert "hunter2" not in str(raised.value)
