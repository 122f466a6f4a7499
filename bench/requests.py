"""
Requests a second, side by side in one run: an nginx that serves 1 KiB itself, an nginx proxy before it, and
Burrow before it; the last two over HTTPS. Needs wrk and nginx: apt-get install wrk nginx-light.

    python -m bench.requests [SECONDS]
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.harness import World, free_port, memory
from tests.e2e.test_nginx import start_nginx
from tests.files import make_certificate

CONFIGURATION = """
worker_processes 1;
events {{ worker_connections 1000; }}
http {{
    upstream direct {{ server 127.0.0.1:{direct}; keepalive 32; }}
    keepalive_requests 100000000;
    server {{ listen 127.0.0.1:{direct}; location / {{ root {root}; }} }}
    server {{
        listen 127.0.0.1:{proxy} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{ proxy_pass http://direct; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


def measure(url, host, seconds):
    """Requests a second with 32 connections, and the p50 and p99 latency as wrk prints them."""
    command = ["wrk", "-t2", "-c32", f"-d{seconds}s", "--latency", "-H", f"Host: {host}", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"{url} answers with errors:\n{output}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return rate, re.search(r"50%\s+(\S+)", output)[1], re.search(r"99%\s+(\S+)", output)[1]


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    folder = Path(tempfile.mkdtemp())
    (folder / "root").mkdir(mode=0o755)
    (folder / "root" / "index.html").write_bytes(b"x" * 1024)
    folder.chmod(0o755)
    cert, key = make_certificate(folder / "c", "localhost")
    direct, proxy = free_port(), free_port()
    text = CONFIGURATION.format(direct=direct, proxy=proxy, root=folder / "root", cert=cert, key=key)
    nginx = start_nginx(folder / "nginx", text)
    world = World(folder / "world", log_level="warn")
    try:
        world.start_server()
        world.env["BURROW_TOKEN"] = world.token()
        agent = world.agent("http", direct)
        rows = {
            "direct": measure(f"http://127.0.0.1:{direct}/", "x", seconds),
            "nginx proxy": measure(f"https://127.0.0.1:{proxy}/", "x", seconds),
            "burrow": measure(f"https://127.0.0.1:{world.https}/", agent.host, seconds),
        }
        base = rows["nginx proxy"][0]
        for name, (rate, half, most) in rows.items():
            of_nginx = f"{rate / base:5.2f} of nginx proxy"
            print(f"{name:12} {rate:9.0f} req/s   p50 {half:>8}  p99 {most:>8}   {of_nginx}")
        for name, pid in (("server", world.workers[0]), ("agent", agent.program.process.pid)):
            print(f"{name:12} {memory(pid) / 2**20:9.1f} MiB")
    finally:
        world.close()
        nginx.stop()


if __name__ == "__main__":
    main()
