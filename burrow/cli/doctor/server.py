"""C{burrow doctor server}: from a server's configuration to visitors and to the certificate authority."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from cryptography import x509

from burrow.addresses import ListenAddress
from burrow.cli.doctor.findings import Finding, Findings, Level, Wrong
from burrow.cli.doctor.network import TIMEOUT, Way, addresses_of, clock_beside
from burrow.cli.doctor.running import running_config
from burrow.cli.run import run
from burrow.cli.store import read_config, server_elsewhere
from burrow.descriptors import low_warning
from burrow.errors import BurrowError, ConfigError
from burrow.link.address import ServerAddress
from burrow.server.checking import check_server, without_effect
from burrow.server.config import ServerConfig
from burrow.server.listening import open_sockets
from burrow.server.stores import DATABASE, open_store
from burrow.supervisor.claim import server_state
from burrow.wording import at, count_of

_SOON = 7 * 86_400.0
"""Seconds before the end of a certificate from a file in which that is told."""


def check_server_machine(arguments: argparse.Namespace) -> int:
    """Check what a server needs. @return: the exit code: see L{Findings.end}."""
    findings = Findings(as_json=arguments.json)
    read: list[ServerConfig] = []

    def configuration() -> str:
        whose = ""
        try:
            config = read_config(arguments)
            running = running_config(config, arguments)
            if running is not None:
                config = running[0]
                whose = f", as the server that runs (process {running[1]}) has it"
            check_server(config)
        except ConfigError as error:
            raise Wrong(str(error), "correct that: `burrow server --help` shows what is possible") from error
        read.append(config)
        useless = without_effect(config)
        if useless:
            raise Wrong("; ".join(useless), "leave it out, or add the other", Level.WARNING)
        return f"the base domain is {config.domain}, with --tls {config.tls}{whose}"

    if not findings.check("configuration", configuration):
        return findings.end()
    config = read[0]
    checks = _Checks(config)
    findings.check("state folder", checks.state_folder)
    for name, listen in config.listens:
        findings.check(f"port {name}", partial(checks.port, name, listen))
    findings.check("descriptors", checks.descriptors)
    if not config.local:
        findings.check("DNS", checks.base_domain)
        findings.check("DNS of names", checks.wildcard, needs=("DNS",))
    if config.tls == "files":
        findings.check("certificate", checks.certificate_file)
    if config.tls == "acme":
        findings.check("CA", checks.authority)
        findings.check("clock", checks.clock, needs=("CA",))
    return run(lambda reactor: _add_store(reactor, config, findings), log_level="error", brief=True) or (
        findings.end()
    )


async def _add_store(reactor: Any, config: ServerConfig, findings: Findings) -> None:
    """Whether the store answers."""
    if config.store == "memory":
        text = "in memory: everything is forgotten when the server ends"
        findings.add(Finding("store", Level.WARNING, text, "leave --store out to keep it in a file"))
        return
    if not config.store and not (config.state_dir / DATABASE).exists():
        findings.add(Finding("store", Level.OK, "none yet: the server makes it when it first starts"))
        return
    try:
        store = open_store(reactor, config)
        await store.open()
        try:
            tokens = await store.tokens()
        finally:
            await store.close()
    except BurrowError as error:
        advice = "look whether Redis runs, and for --store" if config.store else "restore it from a backup"
        findings.add(Finding("store", Level.FAILED, str(error), advice))
        return
    if tokens:
        findings.add(Finding("store", Level.OK, f"it answers, and knows {count_of(len(tokens), 'token')}"))
    else:
        advice = "make one: burrow token create NAME"
        findings.add(Finding("store", Level.WARNING, "it answers, but nobody has a token", advice))


class _Checks:
    """Each method says what is well, or raises L{Wrong}. They block: no reactor runs meanwhile."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._date: float | None = None

    def state_folder(self) -> str:
        """Whether the state folder can be written."""
        folder = self._config.state_dir
        there = folder
        while not there.exists():
            there = there.parent
        if not os.access(there, os.W_OK | os.X_OK):
            raise Wrong(
                f"{there} cannot be written by this user", f"chown it, or give --state another (now {folder})"
            )
        if self._runs():
            return f"{folder}; a server runs with it"
        return f"{folder}; no server runs with it{server_elsewhere(self._config)}"

    def _runs(self) -> bool:
        try:
            server_state(self._config.state_dir)
        except ConfigError:
            return False
        return True

    def port(self, name: str, listen: ListenAddress) -> str:
        """Whether a port of the server is free, or has the server that runs."""
        try:
            for handle in open_sockets(listen, f"--{name}"):
                handle.close()
        except ConfigError as error:
            if self._runs() and self._answers(name, listen):
                return f"{listen}: the server that runs listens there"
            advice = "stop what listens there (`ss -ltnp` shows it), or choose another port"
            if listen.port < 1024 and "ermission" in str(error):
                advice = "run as a service with AmbientCapabilities=CAP_NET_BIND_SERVICE, or as root"
            raise Wrong(str(error), advice) from error
        return f"{listen} is free"

    def _answers(self, name: str, listen: ListenAddress) -> bool:
        """Whether a Burrow server answers in clear; over TLS its certificate may not be believed here."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
        way = Way(ServerAddress(False, host, listen.port), None)
        try:
            way.connect()
            if name == "http" and self._config.tls == "off":
                way.ask_health()
        except Wrong:
            return False
        return True

    def descriptors(self) -> str:
        """How many connections the system lets this program have."""
        warning = low_warning()
        if warning:
            raise Wrong(warning, "raise it: LimitNOFILE=65536 in the unit, or ulimit -n", Level.WARNING)
        return "the limit of open files is high enough"

    def base_domain(self) -> str:
        """Where the base domain's DNS record leads."""
        found = addresses_of(self._config.domain)
        return self._ours(self._config.domain, found)

    def wildcard(self) -> str:
        """Whether all names under the base domain have a record."""
        domain = self._config.domain
        try:
            found = addresses_of(f"burrow-{secrets.token_hex(4)}.{domain}")
        except Wrong as error:
            raise Wrong(
                f"names under {domain} have no address",
                f"make a record *.{domain} that leads where {domain} does",
            ) from error
        return self._ours(f"*.{domain}", found)

    @staticmethod
    def _ours(what: str, found: list[str]) -> str:
        for address in found:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((address, 0))
                except OSError:
                    continue
                return f"{what} leads to {address}, which is this machine's"
        raise Wrong(
            f"{what} leads to {', '.join(found)}, which is no address of this machine",
            "that is right behind a router, a balancer or a cloud's address; else correct the record",
            Level.WARNING,
        )

    def certificate_file(self) -> str:
        """When the certificate in a file ends."""
        assert self._config.cert_file is not None
        certificate = x509.load_pem_x509_certificates(self._config.cert_file.read_bytes())[0]
        ends = certificate.not_valid_after_utc.timestamp()
        text = f"{self._config.cert_file} is valid until {at(ends)}"
        if ends < time.time():
            raise Wrong(
                f"{self._config.cert_file} has expired: {at(ends)}", "replace it, and reload the server"
            )
        if ends < time.time() + _SOON:
            raise Wrong(text, "replace it, and reload the server", Level.WARNING)
        return text

    def authority(self) -> str:
        """Whether the certificate authority can be reached."""
        url = self._config.acme_url
        file = self._config.acme_ca_file
        context = ssl.create_default_context(cafile=None if file is None else str(file))
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT, context=context) as answer:
                date = answer.headers.get("Date")
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Wrong(
                f"the CA at {url} cannot be reached: {reason}",
                "look whether this machine is online, for a firewall, and for --acme-directory and "
                "--acme-ca-file",
            ) from error
        if date:
            self._date = parsedate_to_datetime(date).timestamp()
        return f"{url} answers"

    def clock(self) -> str:
        """This machine's clock beside the CA's."""
        return clock_beside("CA", self._date)
