"""Checks of a server's configuration that need no network: before a socket is open or a process started."""

from __future__ import annotations

import ipaddress

from burrow.certificates.files import read_files
from burrow.certificates.sealed import read_sealer
from burrow.errors import ConfigError
from burrow.options import options_of
from burrow.server.config import ServerConfig
from burrow.server.edge.forwarded import Forwarding
from burrow.trust import trust_root


def check_server(config: ServerConfig) -> None:
    """
    Check the options, and the files that they name.

    @raise ConfigError: a value or a file is wrong. L{BurrowServer<burrow.server.service.BurrowServer>} would
        raise the same error, but later.
    """
    check_options(config)
    Forwarding(config.trusted_proxy, config.trusted_header)
    if config.tls == "files":
        assert config.cert_file is not None
        assert config.key_file is not None
        read_files(config.cert_file, config.key_file)
    if config.tls == "acme":
        trust_root(config.acme_ca_file)
        read_sealer(config.store_key)


def check_options(config: ServerConfig) -> None:
    """@raise ConfigError: two options contradict each other, or one lacks another that it needs."""
    if config.workers > 1 and config.store == "memory":
        raise ConfigError("--store memory is one process's: it has no --workers")
    host, port = config.node_address.host, config.node_address.port
    if config.workers > 1 and port:
        raise ConfigError("--node must end in :0 with --workers: each has a port of its own")
    if host in ("", "0.0.0.0", "::"):
        raise ConfigError("--node must be an address that the other servers can reach, not all of them")
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise ConfigError(
            f"--node {config.node} is not possible: write an IP address of this machine's, and a port"
        ) from error
    _ = config.public_base
    if config.tls == "files" and not (config.cert_file and config.key_file):
        raise ConfigError("--tls files needs --cert-file and --key-file")
    if config.tls == "acme":
        _check_acme(config)
    if config.tls != "off" and not config.https_listen:
        raise ConfigError("without an HTTPS port there is no TLS: say --tls off too")
    if config.tls == "off" and not config.http_listen:
        raise ConfigError("--tls off serves on the plain port, and --http is off: nothing would listen")
    if config.no_admin and (config.admin or config.admin_at_domain):
        raise ConfigError("--no-admin and --admin contradict each other: give one")
    if config.admin_listen is not None and not config.admin_in_clear and config.tls == "off":
        raise ConfigError(
            f"--admin {config.admin} would send tokens in clear, since --tls is off: give an address of the "
            "loopback, as in 127.0.0.1:4041, and let a proxy with TLS lead there"
        )


def _check_acme(config: ServerConfig) -> None:
    if config.local and not config.acme_directory:
        raise ConfigError(f"no public CA issues for {config.domain}: give --domain, or --tls local")
    if config.acme_staging and config.acme_directory:
        raise ConfigError("--acme-staging and --acme-directory name two CAs: give one")
    if bool(config.acme_eab_kid) != bool(config.acme_eab_key):
        raise ConfigError("--acme-eab-kid and --acme-eab-key belong together")
    if bool(config.acme_fallback_eab_kid) != bool(config.acme_fallback_eab_key):
        raise ConfigError("--acme-fallback-eab-kid and --acme-fallback-eab-key belong together")
    if not config.acme_fallback and (config.acme_fallback_eab_kid or config.acme_fallback_profile):
        raise ConfigError("--acme-fallback-eab-kid and --acme-fallback-profile need --acme-fallback")
    for url in filter(None, (config.acme_directory, config.acme_fallback)):
        if not url.startswith("https://"):
            raise ConfigError(f"a CA's directory is an https URL, and {url!r} is none")


def without_effect(config: ServerConfig) -> list[str]:
    """A sentence for each option that differs from its default but is not used with the other options."""
    default = ServerConfig()
    needs = [
        (option.flag, f"--tls {tls}")
        for option in options_of(ServerConfig)
        for tls, names in (
            ("acme", ("acme_", "store_key")),
            ("files", ("cert_file", "key_file")),
            ("local", ("ca_domain",)),
        )
        if config.tls != tls
        and option.name.startswith(names)
        and getattr(config, option.name) != getattr(default, option.name)
    ]
    if config.admin_at_domain and config.admin is None:
        needs.append(("--admin-at-domain", "--admin"))
    if config.trusted_header != default.trusted_header and not config.trusted_proxy:
        needs.append(("--trusted-header", "--trusted-proxy"))
    return [f"{flag} has no effect without {what}" for flag, what in needs]
