"""
Mutation testing: changes one expression or statement at a time and runs the unit tests of that file.

    scripts/mutate                          # a sample of every file below
    scripts/mutate --sample 1000000         # every mutation; takes hours
    scripts/mutate burrow/wire --show       # one folder, each survivor with its line
    scripts/mutate burrow/wire/fair.py --seed 7

A mutation that no test notices survives. Those that change nothing a user can see are listed, each with
the reason, in scripts/survivors.toml; they are left out. A folder whose rate of noticed mutations is below
its goal makes the exit code 1.

The parent imports the libraries once and forks for each mutation, which the child's importer puts in the
place of the file: no file changes, and several run at once.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import random
import re
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SURVIVORS = Path(__file__).with_name("survivors.toml")

GOALS = {
    "burrow/wire": (0.9, ["tests/wire"]),
    "burrow/server/edge": (0.9, ["tests/server/edge"]),
    "burrow/http/http2_server": (0.85, ["tests/http/http2_server"]),
    "burrow/mux": (0.9, ["tests/mux"]),
    "burrow/link": (0.9, ["tests/link"]),
    "burrow/store/known": (0.8, ["tests/store/known", "tests/store/test_store.py::Known"]),
    "burrow/server/nodes/cluster.py": (0.9, ["tests/server/nodes/test_cluster.py"]),
}
"""The part of mutations that must be noticed, and the tests that are to notice them."""

_NOT_RUN = 70
"""The exit code of a child that could not run the tests on the mutated source."""

LONGEST = 120.0
"""Seconds after which a child is ended, at least: what hangs is noticed."""

TIMES_AS_LONG = 10
"""How much longer than without a mutation tests may take, so that a busy machine is not taken for a hang."""

_SWAPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
    "and": "or",
    "or": "and",
    "+": "-",
    "-": "+",
    "*": "+",
    "//": "*",
    "/": "*",
    "%": "+",
    "&": "|",
    "|": "&",
    "<<": ">>",
    ">>": "<<",
}
_OPERATOR = re.compile(r"is\s+not|not\s+in|is|in|and|or|<<|>>|<=|>=|==|!=|//|[-+*/%&|<>]")


@dataclass(frozen=True)
class Mutation:
    """One change: the text between two offsets of a file (in characters) becomes another."""

    file: str
    start: int
    end: int
    new: str
    line: int
    where: str
    was: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it in the list of survivors, whatever its line number."""
        return self.file, self.where, self.was, self.new

    def apply(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.end :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.where}: {self.was!r} -> {self.new!r}"


class _Finder(ast.NodeVisitor):
    """Collects the mutations of one file."""

    def __init__(self, file: str, source: str) -> None:
        self._file = file
        self._source = source
        lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._bytes = [line.encode() for line in lines]
        self._where: list[str] = []
        self.found: list[Mutation] = []

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._bytes[line - 1][:column].decode())

    def _span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self._offset(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self._offset(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def _add(self, start: int, end: int, new: str) -> None:
        was = self._source[start:end]
        line = self._source.count("\n", 0, start) + 1
        where = ".".join(self._where) or "module"
        self.found.append(Mutation(self._file, start, end, new, line, where, was))

    def _replace(self, node: ast.AST, new: str) -> None:
        self._add(*self._span(node), new)

    def _swap_between(self, left: ast.AST, right: ast.AST) -> None:
        start, end = self._span(left)[1], self._span(right)[0]
        found = _OPERATOR.search(self._source, start, end)
        if found is not None:
            new = _SWAPS.get(re.sub(r"\s+", " ", found[0]))
            if new is not None:
                self._add(found.start(), found.end(), new)

    # -- what is left as it is ----------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name in ("__repr__", "__str__"):
            return
        self._where.append(node.name)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)
        self._where.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases = [ast.unparse(base) for base in node.bases]
        returns = any(isinstance(part, ast.Return) for part in ast.walk(node))
        if not returns and ("Interface" in bases or "Protocol" in bases):
            return  # declarations without code
        self._where.append(node.name)
        for statement in node.body:
            self.visit(statement)
        self._where.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts for people are not mutated."""

    # -- what is changed -----------------------------------------------------------------------------------

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return  # its own mutation does this
        if (
            isinstance(test, ast.Compare)
            and len(test.ops) == 1
            and type(test.ops[0]).__name__
            in (
                "Eq",
                "NotEq",
                "Is",
                "IsNot",
                "In",
                "NotIn",
            )
        ):
            return  # likewise
        start, end = self._span(test)
        self._add(start, end, f"not ({self._source[start:end]})")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, end = self._span(node)
        if isinstance(node.op, ast.Not):
            inner = self._span(node.operand)
            self._add(start, end, f"({self._source[inner[0] : inner[1]]})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        parts = [node.left, *node.comparators]
        for left, right in itertools.pairwise(parts):
            self._swap_between(left, right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in itertools.pairwise(node.values):
            self._swap_between(left, right)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        texts = (ast.JoinedStr, ast.Constant)
        if isinstance(node.left, texts) and isinstance(getattr(node.left, "value", ""), str):
            return
        self._swap_between(node.left, node.right)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._swap_between(node.target, node.value)
        self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if value is True or value is False:
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1 if value < 64 else value * 2))
        elif isinstance(value, float):
            self._replace(node, str(value * 2 + 1))
        elif isinstance(value, bytes) and value:
            self._replace(node, repr(value[:-1]))

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            if ".log." in name or name.startswith(("log.", "_log.")):
                return
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and "__init__" not in self._where:
            self._replace(node, "pass")
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._replace(node, "pass")
        elif not isinstance(node.value, ast.Constant):
            self._replace(node, "return None")
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        if ast.unparse(node) == "raise NotImplementedError":
            return  # a declaration without code
        self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "pass")


def mutations(file: str) -> list[Mutation]:
    """All mutations of one file that are still Python."""
    source = (ROOT / file).read_text(encoding="utf-8")
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    good = []
    for mutation in dict.fromkeys(finder.found):
        try:
            ast.parse(mutation.apply(source))
        except SyntaxError:
            continue
        good.append(mutation)
    return good


class _Importer(importlib.abc.MetaPathFinder):
    """Gives the mutated source where the file's module is imported. @ivar used: whether it was."""

    used = False

    def __init__(self, mutation: Mutation) -> None:
        self._path = str(ROOT / mutation.file)
        name = mutation.file.removesuffix(".py").replace("/", ".")
        self._name = name.removesuffix(".__init__")
        source = mutation.apply(Path(self._path).read_text(encoding="utf-8"))
        self._code = compile(source, self._path, "exec", dont_inherit=True)

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != self._name:
            return None
        importer = self

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname):  # type: ignore[no-untyped-def]
                importer.used = True
                return importer._code

        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=Loader(fullname, self._path)
        )


def _run_tests(mutation: Mutation | None, tests: list[str], output: Path) -> int:
    """In a child: run the tests; the exit code says whether one failed."""
    os.setsid()
    number = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # pytest imports all modules of a distribution that has a plugin by an importer of its own, before ours.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    importer = None
    if mutation is not None:
        importer = _Importer(mutation)
        sys.meta_path.insert(0, importer)
    import pytest

    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin"]
    options += ["--hypothesis-profile=mutation", *tests]
    code = int(pytest.main([*options, "-m", "not slow"]))
    code = code or int(pytest.main([*options, "-m", "slow"])) % 5  # 5: there is no slow one
    if importer is not None and not importer.used:
        print(f"the tests do not import {importer._name}: nothing was mutated")
        return _NOT_RUN
    return code


def _start(mutation: Mutation | None, tests: list[str], output: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = _NOT_RUN
    try:
        code = _run_tests(mutation, tests, output)
    except BaseException:  # whatever it is, the child must end here
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


_PRELOADED = (
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis",
    "hypothesis.strategies",
    "attr",
    "zope.interface",
    "twisted.trial.unittest",
    "twisted.internet.defer",
    "twisted.internet.task",
    "twisted.protocols.amp",
    "twisted.logger",
    "twisted.python.failure",
    "OpenSSL.SSL",
    "cryptography.x509",
    "httptools",
)


def _preload() -> None:
    """What all children need and no mutation touches. No reactor: a child must have its own."""
    for name in _PRELOADED:
        importlib.import_module(name)


def _tests_of(file: str) -> tuple[str, list[str]]:
    """The goal that a file counts for, and its tests."""
    for place, (_, tests) in GOALS.items():
        if file == place or file.startswith(place + "/"):
            return place, tests
    raise SystemExit(f"{file} is not among the folders that have a goal: {', '.join(GOALS)}")


def _files(places: list[str]) -> Iterator[str]:
    for place in places:
        path = ROOT / place
        if path.is_dir():
            yield from (str(file.relative_to(ROOT)) for file in sorted(path.rglob("*.py")))
        else:
            yield place


def listed() -> dict[tuple[str, str, str, str], str]:
    """The survivors that change nothing a user can see, with the reason."""
    if not SURVIVORS.exists():
        return {}
    entries = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")).get("survivor", [])
    return {(one["file"], one["where"], one["was"], one["now"]): one["why"] for one in entries}


@dataclass
class _Running:
    mutation: Mutation
    output: Path
    until: float


def run(
    chosen: list[Mutation], jobs: int, folder: Path, longest: float = LONGEST
) -> Iterator[tuple[Mutation, bool]]:
    """Run the tests on each mutation, for so many seconds at most; whether it was noticed."""
    waiting = list(chosen)
    running: dict[int, _Running] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutation = waiting.pop()
            output = folder / f"{len(waiting)}.txt"
            child = _start(mutation, _tests_of(mutation.file)[1], output)
            running[child] = _Running(mutation, output, time.monotonic() + longest)
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            for late in [number for number, one in running.items() if one.until < time.monotonic()]:
                os.killpg(late, signal.SIGKILL)
            time.sleep(0.02)
            continue
        one = running.pop(child, None)
        if one is None:
            continue
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what its tests left running
        if code in (5, _NOT_RUN):
            raise SystemExit(f"the tests could not be run on {one.mutation}:\n{one.output.read_text()}")
        yield one.mutation, code != 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="*", help="files or folders; all that have a goal by default")
    parser.add_argument("--sample", type=int, default=60, help="mutations of each folder, at most (60)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the choice of an earlier run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", action="store_true", help="print each mutation as it is run")
    parser.add_argument("--output", type=Path, default=None, help="folder for what the tests print")
    arguments = parser.parse_args()
    seed = random.randrange(10_000) if arguments.seed is None else arguments.seed
    chooser = random.Random(seed)
    known = listed()
    by_place: dict[str, list[Mutation]] = {}
    for file in dict.fromkeys(_files([place.rstrip("/") for place in arguments.places] or list(GOALS))):
        place, _ = _tests_of(file)
        by_place.setdefault(place, []).extend(one for one in mutations(file) if one.key not in known)
    _preload()
    folder = arguments.output
    if folder is None:
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="mutation-"))
    folder.mkdir(parents=True, exist_ok=True)
    missed = []
    for place, found in by_place.items():
        chosen = chooser.sample(found, min(arguments.sample, len(found)))
        tests = sorted({test for one in chosen for test in _tests_of(one.file)[1]})
        begun = time.monotonic()
        child = _start(None, tests, folder / "none.txt")
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            print(f"{place}: the tests fail without any mutation, see {folder / 'none.txt'}")
            return 2
        longest = max(LONGEST, TIMES_AS_LONG * (time.monotonic() - begun))
        survived = []
        for mutation, noticed in run(chosen, arguments.jobs, folder, longest):
            if arguments.show:
                print("noticed " if noticed else "SURVIVED", mutation, flush=True)
            elif not noticed:
                print("SURVIVED", mutation, flush=True)
            if not noticed:
                survived.append(mutation)
        rate = 1 - len(survived) / len(chosen) if chosen else 1.0
        goal = GOALS[place][0]
        print(
            f"{place}: {len(chosen) - len(survived)} of {len(chosen)} mutations noticed "
            f"({rate:.0%}, goal {goal:.0%}), of {len(found)} possible; --seed {seed}",
            flush=True,
        )
        if rate < goal:
            missed.append(place)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
