"""
Certificates that a CA issued while the store could not be written: kept in memory, and in files of the state
folder for the next start, until they are in the store. The CA counts them, so they must not be lost.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from twisted.logger import Logger

from burrow.certificates.issued import read_chain
from burrow.errors import StoreError
from burrow.folders import write_whole
from burrow.store.base import IStore
from burrow.store.spaces import CERTIFICATES

_SUFFIX = ".pem"


class Unwritten:
    """
    Bounded by the limits of orders: see L{burrow.certificates.acme.limits}.

    @param folder: for the files, which their owner alone can read; None for memory alone.
    """

    log = Logger()

    def __init__(self, store: IStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder
        self._texts: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """The text that is to be written to the store for a name, if any."""
        return self._texts.get(name)

    def read(self) -> list[str]:
        """Read the files of an earlier process. @return: the names."""
        try:
            files = [] if self._folder is None else sorted(self._folder.glob("*" + _SUFFIX))
        except OSError:
            files = []
        for file in files:
            try:
                text = file.read_text(encoding="ascii")
                read_chain(text)
            except (OSError, ValueError) as error:
                self.log.warn(
                    "cannot use the certificate in {file}, which was to be written to the store: {error}",
                    file=str(file),
                    error=error,
                )
                continue
            self._texts.setdefault(file.name.removesuffix(_SUFFIX), text)
        return list(self._texts)

    def keep(self, name: str, text: str) -> None:
        """Keep a certificate until L{write} succeeds."""
        self._texts[name] = text
        if self._folder is None:
            return
        try:
            write_whole(self._file(name), text.encode())
        except OSError as error:
            self.log.error(
                "cannot write the certificate of {name} to a file; it is kept in memory: {error}",
                name=name,
                error=error,
            )

    async def write(self) -> None:
        """
        Write all certificates to the store that are newer than the ones there. If it is away, keep them.
        """
        for name, text in list(self._texts.items()):
            try:
                there = await self._store.note(CERTIFICATES, name)
                older = there != text and (there is None or _begins(there) <= _begins(text))
                if older and not await self._store.swap_note(CERTIFICATES, name, there, text):
                    continue  # another node wrote it meanwhile: compared again at the next call
            except StoreError:
                return
            if self._texts.get(name) == text:
                del self._texts[name]
                self.log.info("the certificate of {name} is in the store now", name=name)
                self._remove(name)

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / (name + _SUFFIX)

    def _remove(self, name: str) -> None:
        try:
            if self._folder is not None:
                self._file(name).unlink(missing_ok=True)
        except OSError as error:
            self.log.warn(
                "cannot remove {file}, whose certificate is in the store: {error}",
                file=str(self._file(name)),
                error=error,
            )


def _begins(text: str) -> float:
    """When the certificate in a note becomes valid; minus infinity if the note holds none."""
    try:
        leaf: x509.Certificate = read_chain(text)[0]
    except ValueError:
        return float("-inf")
    return leaf.not_valid_before_utc.timestamp()
