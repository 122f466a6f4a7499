"""Rules of the house that a program can check: imports point down, files are short, everything is shipped."""

import ast
import configparser
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = [
    # Beside the layers: used by all, and use none.
    {
        "addresses",
        "allocator",
        "batches",
        "clock",
        "folders",
        "descriptors",
        "errors",
        "hangup",
        "identity",
        "limits",
        "options",
        "reactor",
        "repeat",
        "shown",
        "sockets",
        "stopping",
        "traffic",
        "trust",
        "twistd",
        "uninterrupted",
        "urls",
        "values",
        "wording",
    },
    {"http", "wire"},
    {"mux"},
    {"link"},
    {"observe", "policy"},
    {"store", "protocols"},
    {"certificates"},
    {"client", "server"},
    {"program"},
    {"supervisor"},
    {"cli"},
    {"testing", "__main__"},
    {"django", "endpoint", "pytest_plugin"},
]
"""What is above may import what is below. Of one layer, two packages do not import each other."""

LONGEST = 350
"""Lines of a file, at most, unless its docstring has a line that begins with "Long because"."""


@cache
def modules():
    """Each module of burrow, by name: its file."""
    found = {}
    for file in sorted((ROOT / "burrow").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def tree(module):
    """What a module says."""
    return ast.parse(modules()[module].read_bytes())


def imports(tree, known):
    """The modules of C{known} that a file imports, those in functions and under TYPE_CHECKING included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in names]
        else:
            continue
        yield from (name for name in names if name in known)


@cache
def graph():
    """What each module imports."""
    return {module: set(imports(tree(module), modules())) - {module} for module in modules()}


def room(module):
    """The package, or the module beside the packages, that a module is in; burrow itself is in none."""
    return module.split(".")[1] if "." in module else ""


def level(module):
    """The number of its layer."""
    return next(number for number, layer in enumerate(LAYERS) if room(module) in layer)


def upward(edges):
    """The imports that do not point down."""
    return [
        f"{module} imports {other}"
        for module, others in edges.items()
        for other in sorted(others)
        if room(module)
        and room(other)
        and (
            level(other) > level(module)
            or (level(other) == level(module) > 0 and room(other) != room(module))
        )
    ]


def circles(edges):
    """The sets of modules that import each other, directly or by way of others."""
    reached = {}
    for module in edges:
        reached[module], new = set(), [module]
        while new:
            found = edges[new.pop()] - reached[module]
            reached[module] |= found
            new += found
    return {
        frozenset(other for other in others if module in reached[other])
        for module, others in reached.items()
        if module in others
    }


def test_each_module_has_its_layer():
    assert {room(module) for module in modules()} - {""} <= set().union(*LAYERS)


def test_imports_point_down():
    assert upward(graph()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(graph()) == set()


def test_imports_up_and_circles_are_seen():
    text = "import burrow.a\ndef f():\n    from burrow import b\n    from burrow.c.d import name"
    assert set(imports(ast.parse(text), {"burrow.a", "burrow.b", "burrow.c.d"})) == {
        "burrow.a",
        "burrow.b",
        "burrow.c.d",
    }
    edges = {
        "burrow.wire.a": {"burrow.mux.b", "burrow.errors"},
        "burrow.client.c": {"burrow.server.d", "burrow.wire.a"},
    }
    assert upward(edges) == ["burrow.wire.a imports burrow.mux.b", "burrow.client.c imports burrow.server.d"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == {frozenset({"b", "c"})}
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()


def says_why_it_is_long(module):
    docstring = ast.get_docstring(tree(module)) or ""
    return any(line.startswith("Long because") for line in docstring.splitlines())


def test_files_are_short_or_say_why_not():
    lines = {name: file.read_bytes().count(b"\n") for name, file in modules().items()}
    assert {name: n for name, n in lines.items() if n > LONGEST and not says_why_it_is_long(name)} == {}


@pytest.fixture(scope="module")
def setup():
    """setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    assert parser["options"]["packages"].strip() == "find_namespace:"  # a folder is a package
    return parser


def test_every_package_and_its_files_are_shipped(setup):
    packages = setup["options.packages.find"]["include"].split()
    left_out = []
    for file in (*(ROOT / "burrow").rglob("*"), *(ROOT / "twisted").rglob("*.py")):
        if file.is_dir() or "__pycache__" in file.parts:
            continue
        package = ".".join(file.parent.relative_to(ROOT).parts)
        files = ["*.py", *setup["options.package_data"].get(package, "").split()]
        if not (
            any(fnmatch(package, one) for one in packages) and any(fnmatch(file.name, one) for one in files)
        ):
            left_out.append(file)
    assert left_out == []


def test_the_files_that_setup_cfg_ships_exist(setup):
    for package, patterns in setup["options.package_data"].items():
        for pattern in patterns.split():
            assert list(ROOT.joinpath(*package.split(".")).glob(pattern)), f"{package}: there is no {pattern}"


def test_each_package_has_a_docstring():
    assert [module for module in modules() if not ast.get_docstring(tree(module))] == []


def test_certificates_of_servers_are_checked_by_our_own_code():
    """Twisted's ready-made options take some certificates for every name: see L{burrow.identity}."""
    for name, path in modules().items():
        words = path.read_text()
        if name != "burrow.identity":
            assert "optionsForClientTLS" not in words, name
            assert "BrowserLikePolicyForHTTPS" not in words, name
