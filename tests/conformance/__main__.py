"""
Runs other people's test suites directly and through a tunnel, and prints what differs::

    scripts/conformance                # each suite; gets it first, which takes minutes
    scripts/conformance h2spec nghttp  # some of them
    scripts/conformance --all websocket    # with the cases that send gigabytes, too

Exit code 1: a verdict differs, or a case fails, and nothing here says why. 2: a suite cannot be had.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conformance import grpc_interop, http2, suites, websockets
from tests.conformance.tunnels import Tunnels
from tests.conformance.verdicts import Comparison

SUITES: dict[str, Callable[[Tunnels], list[Comparison]]] = {
    "grpc-go": grpc_interop.go,
    "grpc-java": grpc_interop.java,
    "websocket": websockets.kosoku,
    "wstest": websockets.wstest,
    "h2spec": http2.h2spec,
    "nghttp": http2.nghttp,
    "h2load": http2.h2load,
}


def main() -> int:
    """Run what was asked for. @return: the exit code."""
    parser = argparse.ArgumentParser("scripts/conformance", description=__doc__.strip().splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of: {', '.join(SUITES)}; default: all")
    parser.add_argument("--all", action="store_true", help="run the long WebSocket cases, too")
    options = parser.parse_args()
    unknown = [name for name in options.suites if name not in SUITES]
    if unknown:
        parser.error(f"no suite is called {unknown[0]}; there are: {', '.join(SUITES)}")
    websockets.everything = options.all
    code = 0
    for name in options.suites or SUITES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="burrow-conformance-") as folder:
            tunnels = Tunnels(Path(folder))
            try:
                comparisons = SUITES[name](tunnels)
            except suites.Missing as missing:
                print(f"{name}: not run: {missing}", flush=True)
                code = code or 2
                continue
            finally:
                tunnels.close()
        for comparison in comparisons:
            print("\n".join(comparison.lines()), flush=True)
        print(f"    ({name}: {time.monotonic() - began:.0f} s)", flush=True)
        if not all(comparison.holds for comparison in comparisons):
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
