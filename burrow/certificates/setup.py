"""Puts ACME certificates together from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from burrow.certificates.acme import ExternalAccount
from burrow.certificates.issuer import AcmeCertificates
from burrow.certificates.orders import Authority
from burrow.config import ServerConfig
from burrow.link.trust import trust_root


def acme_certificates(
    reactor: Any,
    store: Any,
    config: ServerConfig,
    in_use: Callable[[], Iterable[str]],
    tell: Callable[[str, str], None],
) -> AcmeCertificates:
    """
    See L{AcmeCertificates}.

    @raise ConfigError: the file of CAs cannot be read.
    """
    trust = trust_root(config.acme_ca_file)
    external = ExternalAccount(config.acme_eab_kid, config.acme_eab_key) if config.acme_eab_kid else None
    authorities = [
        Authority(config.acme_url, config.acme_email, external, trust, config.acme_weekly(config.acme_url))
    ]
    if config.acme_fallback:
        url = config.acme_fallback
        authorities.append(Authority(url, config.acme_email, None, trust, config.acme_weekly(url)))
    made = AcmeCertificates(reactor, store, config.domain, authorities, in_use)
    made.tell = tell
    return made
