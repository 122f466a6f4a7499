"""The programs that tests run beside Burrow, found or built. What is missing fails the test that needs it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = {
    "go": "golang-go golang-github-hashicorp-yamux-dev golang-github-gorilla-websocket-dev",
    "node": "nodejs",
    "npm": "npm",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "psql": "postgresql-client",
    "pgbench": "postgresql",
    "mariadb": "mariadb-client-core",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "dnsmasq": "dnsmasq-base",
    "dig": "bind9-dnsutils",
    "runuser": "util-linux",
    "setsid": "util-linux",
    "nginx": "nginx-light",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "redis-benchmark": "redis-tools",
    "pebble": "pebble",
    "pebble-challtestsrv": "pebble",
    "curl": "curl",
    "openssl": "openssl",
    "ssh": "openssh-client",
    "scp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "php": "php-cli",
}

_PLACES = ("/usr/sbin", "/sbin", "/usr/lib/go/bin")


def program(name):
    """The path of a program; an error that names the Debian package where it is missing."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *_PLACES])
    if name in ("initdb", "postgres", "pgbench"):
        # Debian keeps the server's programs off the PATH, a folder a version.
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        places = os.pathsep.join([*map(str, versions), places])
    found = shutil.which(name, path=places)
    if found is None:
        raise AssertionError(f"{name} is needed: apt-get install {PACKAGES[name]} (scripts/test does)")
    return found


def build_go(source, into):
    """Build a Go program that uses Debian's packaged libraries; return its path."""
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
    }
    # Kept from run to run: to compile Go's own library takes a minute.
    environment.setdefault("GOCACHE", str(Path(tempfile.gettempdir()) / f"burrow-go-cache-{os.getuid()}"))
    target = Path(into) / Path(source).name
    subprocess.run(
        [program("go"), "build", "-o", target, Path(source) / "main.go"],
        env=environment,
        check=True,
        timeout=300,
    )
    return target


def npm_install(folder, *packages):
    """Install what a folder's package.json names, and more packages, by npm."""
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([program("npm"), "install", *quiet, *packages], cwd=folder, check=True, timeout=300)
