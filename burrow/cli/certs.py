"""C{burrow certs}: the certificates that C{--tls acme} got, and the errors of their renewals."""

from __future__ import annotations

import argparse
from typing import Any

from cryptography import x509

from burrow.certificates.issued import read_chain, renewal_time
from burrow.cli.store import which_store, with_store
from burrow.cli.table import show_table
from burrow.store.base import IStore
from burrow.store.spaces import CERTIFICATES, ERRORS
from burrow.wording import at


def add_certs(commands: Any) -> None:
    """C{burrow certs}."""
    parser = commands.add_parser(
        "certs",
        help="show the certificates that --tls acme got, and what failed",
        description="Show the certificates that a server with --tls acme has in its store: from whom, until "
        "when, from when on they are renewed, and why the last renewal failed, if it did.",
    )
    which_store(parser)
    parser.set_defaults(run=certs)


def certs(arguments: argparse.Namespace) -> int:
    """C{burrow certs}."""

    async def work(store: IStore) -> None:
        errors = await store.notes(ERRORS)
        found = await store.notes(CERTIFICATES)
        rows: list[tuple[str, ...]] = [("NAME", "ISSUER", "EXPIRES", "RENEWED AFTER", "LAST ERROR")]
        for name in sorted({*found, *errors}):
            rows.append((name, *_columns(found.get(name)), errors.get(name, "")))
        show_table(rows)

    return with_store(arguments, work)


def _columns(text: str | None) -> tuple[str, str, str]:
    """Issuer, end and time of the renewal of a certificate in PEM form; dashes where there is none."""
    if text is None:
        return "-", "-", "-"
    leaf = read_chain(text)[0]
    names = leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    issuer = str(names[0].value) if names else leaf.issuer.rfc4514_string()
    renewal = renewal_time(leaf, lambda low, high: high)
    return issuer, at(leaf.not_valid_after_utc.timestamp()), at(renewal)
