"""
Other people's test suites, run against a service directly and through a tunnel: C{scripts/conformance}.

None of them is part of this repository: C{suites} gets each from its registry into a folder of its own. A
suite's module says which of its cases run, and what a verdict is; C{verdicts} compares. The suites take
minutes and need other languages' tools, so pytest runs only the tests of this package itself.
"""
