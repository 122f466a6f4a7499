"""What of a server's configuration can be told to be wrong before a socket is open or a process started."""

from __future__ import annotations

from burrow.certificates.files import read_files
from burrow.certificates.sealed import read_sealer
from burrow.config import ServerConfig
from burrow.server.edge.forwarded import Forwarding
from burrow.trust import trust_root


def check_server(config: ServerConfig) -> None:
    """
    Look at everything that does not need the network: also the files that are named. Nothing is kept.

    @raise ConfigError: something is not possible; L{BurrowServer<burrow.server.service.BurrowServer>} would
        raise the same.
    """
    config.check()
    Forwarding(config.trusted_proxy, config.trusted_header)
    if config.store not in ("", "memory"):
        # Imported when it is needed: txredisapi takes a while.
        from burrow.store.connection import RedisAddress

        RedisAddress.parse(config.store)
    if config.tls == "files":
        assert config.cert_file is not None
        assert config.key_file is not None
        read_files(config.cert_file, config.key_file)
    if config.tls == "acme":
        trust_root(config.acme_ca_file)
        read_sealer(config.store_key)
