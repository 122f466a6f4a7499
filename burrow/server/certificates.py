"""The source of certificates that a server's configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from burrow.certificates.files import FileCertificates
from burrow.certificates.local import LocalCertificates
from burrow.server.config import ServerConfig
from burrow.store.base import IStore


def make_certificates(
    reactor: Any,
    store: IStore,
    config: ServerConfig,
    hosts: Callable[[], Iterable[str]],
    serves: Callable[[str], Deferred[bool]],
    note: Callable[[str, str], None],
) -> Any:
    """
    An L{ICertificates<burrow.certificates.base.ICertificates>}; None for a server without TLS.

    @param hosts: the hosts of the tunnels that are open here.
    @param serves: see L{burrow.certificates.base.HasOwner}.
    @param note: called with the kind and the text of each event.
    """
    if config.tls == "local":
        return LocalCertificates(config.state_dir, config.domain, serves, config.ca_domain)
    if config.tls == "files":
        assert config.cert_file is not None
        assert config.key_file is not None
        return FileCertificates(reactor, config.cert_file, config.key_file)
    if config.tls == "acme":
        # Imported when it is needed: txacme takes a while.
        from burrow.certificates.acme.setup import acme_certificates

        return acme_certificates(reactor, store, config, hosts, serves, note)
    return None
