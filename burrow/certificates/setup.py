"""Puts ACME certificates together from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from burrow.certificates.acme import ExternalAccount
from burrow.certificates.base import Whose
from burrow.certificates.issuer import AcmeCertificates
from burrow.certificates.orders import Authority
from burrow.certificates.sealed import read_sealer
from burrow.config import ServerConfig
from burrow.trust import trust_root

UNWRITTEN = "certificates-for-store"
"""The folder, in the state folder, of certificates that the store has not taken yet."""


def acme_certificates(
    reactor: Any,
    store: Any,
    config: ServerConfig,
    in_use: Callable[[], Iterable[str]],
    whose: Whose,
    tell: Callable[[str, str], None],
) -> AcmeCertificates:
    """
    See L{AcmeCertificates}.

    @raise ConfigError: the file of CAs, or the one of secrets, cannot be read.
    """
    trust = trust_root(config.acme_ca_file)

    def authority(url: str, kid: str, key: str, profile: str) -> Authority:
        external = ExternalAccount(kid, key) if kid else None
        return Authority(url, config.acme_email, external, trust, config.acme_weekly(url), profile)

    authorities = [
        authority(config.acme_url, config.acme_eab_kid, config.acme_eab_key, config.acme_profile),
    ]
    if config.acme_fallback:
        kid, key = config.acme_fallback_eab_kid, config.acme_fallback_eab_key
        authorities.append(authority(config.acme_fallback, kid, key, config.acme_fallback_profile))
    sealer = read_sealer(config.store_key)
    folder = config.state_dir / UNWRITTEN
    made = AcmeCertificates(
        reactor, store, config.domain, authorities, in_use, whose, sealer=sealer, folder=folder
    )
    made.tell = tell
    return made
