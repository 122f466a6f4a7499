"""
pyOpenSSL's connection between memory BIOs, with the shortest way for what Twisted's TLS does with each piece.

After each piece that comes, Twisted reads until there is nothing, and asks whether there is anything to send.
For each such question pyOpenSSL allocates 32 KiB, and asks OpenSSL three times why there is nothing. Here the
BIO is asked how much it has, so that nothing is known at once (1.0, now .4 us), and a buffer is as large as
what is there. A request and its answer over HTTPS took the server 41 us of CPU, and take 38.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

ffi: Any
lib: Any
try:
    from OpenSSL._util import ffi, lib
except ImportError:  # it is pyOpenSSL's own: with a release without it, its own calls are made
    ffi = lib = None

_BIO = ("BIO_get_mem_data", "BIO_new", "BIO_read", "BIO_s_mem", "BIO_write")
_SSL = ("SSL_pending", "SSL_read", "SSL_set_bio", "SSL_write")


def _reachable() -> bool:
    """Whether pyOpenSSL has what is used here, by the names of its releases until now."""
    if not all(hasattr(lib, name) for name in _BIO + _SSL):
        return False
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    return {"_ssl", "_into_ssl", "_from_ssl"} <= vars(connection).keys()


if _reachable():
    _allocate = ffi.new_allocator(should_clear_after_alloc=False)
    _place = ffi.new("char **")  # where OpenSSL tells the place of a BIO's bytes, which nobody reads

    class DirectConnection(SSL.Connection):
        """One TLS connection. Its methods do what pyOpenSSL's do, for bytes."""

        _ssl: Any
        _into_ssl: Any
        _from_ssl: Any
        _ended = False
        """Whether peer or socket has ended: then OpenSSL is asked whatever waits, and tells how it ended."""

        def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
            """
            Decrypted bytes, at most so many.

            @raise SSL.WantReadError: none are there. @raise SSL.Error: others are pyOpenSSL's, how it ended.
            """
            waiting = lib.BIO_get_mem_data(self._into_ssl, _place) + lib.SSL_pending(self._ssl)
            if not waiting and not self._ended:
                raise SSL.WantReadError
            if not waiting or flags is not None:
                return super().recv(bufsiz, flags)
            size = min(waiting, bufsiz)
            buffer = _allocate("char[]", size)
            result = lib.SSL_read(self._ssl, buffer, size)
            if result <= 0:
                try:
                    self._raise_ssl_error(self._ssl, result)
                except SSL.ZeroReturnError:
                    self._ended = True
                    raise
            received: bytes = ffi.buffer(buffer, result)[:]
            return received

        def send(self, buf: Any, flags: int = 0) -> int:
            """Encrypt bytes. @return: how many."""
            result: int = lib.SSL_write(self._ssl, ffi.from_buffer(buf), len(buf))
            if result <= 0:
                self._raise_ssl_error(self._ssl, result)
            return result

        def bio_read(self, bufsiz: int) -> bytes:
            """Encrypted bytes for the socket, at most so many. @raise SSL.WantReadError: none are there."""
            waiting = lib.BIO_get_mem_data(self._from_ssl, _place)
            if not waiting:
                raise SSL.WantReadError
            size = min(waiting, bufsiz)
            buffer = _allocate("char[]", size)
            encrypted: bytes = ffi.buffer(buffer, lib.BIO_read(self._from_ssl, buffer, size))[:]
            return encrypted

        def bio_write(self, buf: Any) -> int:
            """Encrypted bytes from the socket. @return: how many."""
            written: int = lib.BIO_write(self._into_ssl, ffi.from_buffer(buf), len(buf))
            return written

        def bio_shutdown(self) -> None:
            """The socket has ended. From now on L{recv} tells a cut from a close_notify."""
            super().bio_shutdown()
            self._ended = True

        def release_buffers(self) -> None:
            """
            Begin anew with what is between TLS and the socket, if nothing waits there. OpenSSL's memory BIOs
            are as large as the most that they held, 340 KB for a read of 256, until they are freed; pyOpenSSL
            frees them with the connection alone.
            """
            waits = (lib.BIO_get_mem_data(bio, _place) for bio in (self._into_ssl, self._from_ssl))
            if any(waits):
                return
            into, out_of = lib.BIO_new(lib.BIO_s_mem()), lib.BIO_new(lib.BIO_s_mem())
            if into and out_of:
                lib.SSL_set_bio(self._ssl, into, out_of)  # which frees those before
                self._into_ssl, self._from_ssl = into, out_of

else:

    class DirectConnection(SSL.Connection):  # type: ignore[no-redef]
        """One TLS connection, with pyOpenSSL's calls."""

        def release_buffers(self) -> None:
            """They stay."""


def direct(connection: SSL.Connection) -> SSL.Connection:
    """Make a connection, which others made, a L{DirectConnection}, unless it is of a class of theirs."""
    if type(connection) is SSL.Connection:
        connection.__class__ = DirectConnection
    return connection
