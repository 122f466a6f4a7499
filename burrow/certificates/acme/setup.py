"""Makes L{AcmeCertificates} from a server's options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from burrow.certificates.acme.authority import Authority
from burrow.certificates.acme.client import ExternalAccount
from burrow.certificates.acme.issuer import AcmeCertificates
from burrow.certificates.base import HasOwner
from burrow.certificates.sealed import read_sealer
from burrow.store.base import IStore
from burrow.trust import trust_root

UNWRITTEN = "certificates-for-store"
"""The folder, in the state folder, of certificates that could not be written to the store yet."""


class AcmeOptions(Protocol):
    """The options that matter here. Each is described where the server declares it."""

    @property
    def domain(self) -> str: ...

    @property
    def acme_url(self) -> str: ...

    @property
    def acme_email(self) -> str: ...

    @property
    def acme_eab_kid(self) -> str: ...

    @property
    def acme_eab_key(self) -> str: ...

    @property
    def acme_profile(self) -> str: ...

    @property
    def acme_fallback(self) -> str: ...

    @property
    def acme_fallback_eab_kid(self) -> str: ...

    @property
    def acme_fallback_eab_key(self) -> str: ...

    @property
    def acme_fallback_profile(self) -> str: ...

    @property
    def acme_ca_file(self) -> Path | None: ...

    @property
    def store_key(self) -> Path | None: ...

    @property
    def state_dir(self) -> Path: ...

    def acme_weekly(self, url: str) -> int:
        """Certificates for new names a week that the CA at C{url} may be asked for; 0 for any number."""

    def acme_share(self, url: str) -> int:
        """Of these, those for the names of one token; 0 for any number."""


def acme_certificates(
    reactor: Any,
    store: IStore,
    options: AcmeOptions,
    in_use: Callable[[], Iterable[str]],
    has_owner: HasOwner,
    tell: Callable[[str, str], None],
) -> AcmeCertificates:
    """
    See L{AcmeCertificates}.

    @raise ConfigError: the file of CAs, or the one of secrets, cannot be read.
    """
    trust = trust_root(options.acme_ca_file)

    def authority(url: str, kid: str, key: str, profile: str) -> Authority:
        external = ExternalAccount(kid, key) if kid else None
        weekly, share = options.acme_weekly(url), options.acme_share(url)
        return Authority(url, options.acme_email, external, trust, weekly, share, profile)

    authorities = [
        authority(options.acme_url, options.acme_eab_kid, options.acme_eab_key, options.acme_profile),
    ]
    if options.acme_fallback:
        kid, key = options.acme_fallback_eab_kid, options.acme_fallback_eab_key
        authorities.append(authority(options.acme_fallback, kid, key, options.acme_fallback_profile))
    return AcmeCertificates(
        reactor,
        store,
        options.domain,
        authorities,
        in_use,
        has_owner,
        sealer=read_sealer(options.store_key),
        folder=options.state_dir / UNWRITTEN,
        tell=tell,
    )
