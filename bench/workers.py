"""
What a second worker is worth: requests a second through one agent and through eight, with one worker and with
two, alternating in one run; over HTTPS. Needs wrk and nginx: apt-get install wrk nginx-light.

    python -m bench.workers [SECONDS]
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.harness import World, free_port
from tests.e2e.test_nginx import start_nginx

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 1000; }}
http {{
    keepalive_requests 100000000;
    server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""
ROUNDS = 3


class Server:
    """One server with its agents."""

    def __init__(self, folder, workers, upstream):
        self.world = World(folder / str(workers), log_level="warn", workers=str(workers))
        self.world.start_server()
        self.world.env["BURROW_TOKEN"] = self.world.token()
        agents = [self.world.agent("http", upstream, "--name", f"n{number}") for number in range(8)]
        self.hosts = [agent.host for agent in agents]

    def rate(self, agents, seconds):
        """Requests a second, 32 connections in all, through so many agents."""

        def visit(host):
            url = f"https://127.0.0.1:{self.world.https}/"
            command = ["wrk", "-t1", f"-c{32 // agents}", f"-d{seconds}s", "-H", f"Host: {host}", url]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if "Non-2xx" in output:
                raise SystemExit(f"{host} answers with errors:\n{output}")
            return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])

        with ThreadPoolExecutor(agents) as pool:
            return sum(pool.map(visit, self.hosts[:agents]))


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "root").mkdir(mode=0o755)
    (folder / "root" / "index.html").write_bytes(b"x" * 1024)
    port = free_port()
    nginx = start_nginx(folder / "nginx", CONFIGURATION.format(port=port, root=folder / "root"))
    servers = {}
    try:
        for workers in (1, 2):
            servers[workers] = Server(folder, workers, port)
        time.sleep(2)  # the workers look at each other once a second
        for agents in (1, 8):
            rates = {workers: [] for workers in servers}
            for _ in range(ROUNDS):
                for workers, server in servers.items():
                    rates[workers].append(server.rate(agents, seconds))
            one, two = (statistics.median(rates[workers]) for workers in (1, 2))
            print(f"{agents} agents: {one:.0f} with one worker, {two:.0f} with two: {two / one:.2f} times")
    finally:
        for server in servers.values():
            server.world.close()
        nginx.stop()


if __name__ == "__main__":
    main()
