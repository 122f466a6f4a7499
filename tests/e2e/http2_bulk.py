"""
Large bodies through a tunnel by HTTP/2, down and up at once, by curl, while the server's memory is watched::

    python -m tests.e2e.http2_bulk 5     # GiB each way
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.e2e.harness import Upstream, World, memory, reply, send_bytes
from tests.programs import program

MIB = 1 << 20


def both_ways(world, size, folder):
    """
    C{size} bytes each way.

    @return: what curl says of download and upload: version, status, bytes down and up; by how many bytes the
        memory of the process that serves and of the agent grew, at most.
    """

    def serve(handler):
        if handler.command == "GET":
            send_bytes(handler, size, bytes(1 << 18))
            return
        left = size
        while left:
            left -= len(handler.rfile.read(min(left, MIB)))
        reply(handler, b"taken")

    service = Upstream(serve)
    agent = world.agent("http", service.port, "--name", "bulk")
    host = agent.host
    sparse = folder / "sparse"
    with sparse.open("wb") as file:
        file.truncate(size)
    (serving,) = world.workers
    pids = [serving, agent.program.process.pid]
    before = [memory(pid) for pid in pids]
    most = list(before)
    command = [program("curl"), "-sS", "--http2", "--cacert", world.ca_file, "-o", "/dev/null"]
    command += ["-w", "%{http_version} %{http_code} %{size_download} %{size_upload}"]
    command += ["--resolve", f"{host}:{world.https}:127.0.0.1", f"https://{host}:{world.https}/"]
    running = [
        subprocess.Popen([*map(str, command), *options], stdout=subprocess.PIPE, text=True)
        for options in ([], ["-T", str(sparse)])
    ]
    while any(each.poll() is None for each in running):
        most = [max(pair) for pair in zip(most, map(memory, pids), strict=True)]
        time.sleep(0.02)
    service.close()
    grown = [after - first for after, first in zip(most, before, strict=True)]
    return [each.communicate()[0] for each in running], grown


def main():
    size = int(float(sys.argv[1]) * 1024) * MIB
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        try:
            world.start_server()
            world.env["BURROW_TOKEN"] = world.token()
            began = time.monotonic()
            told, grown = both_ways(world, size, Path(folder))
            seconds = time.monotonic() - began
        finally:
            world.close()
    print(*told, sep="\n")
    print(f"{2 * size / seconds / MIB:.0f} MiB/s in all, {seconds:.0f} s")
    print(f"memory: server {grown[0] / MIB:+.1f} MiB, agent {grown[1] / MIB:+.1f} MiB")


if __name__ == "__main__":
    main()
