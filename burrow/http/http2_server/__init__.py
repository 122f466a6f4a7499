"""
The server's side of an HTTP/2 connection (RFC 9113), bytes in and calls out. No I/O.

What visitors send is read here without an object for a frame: see
L{connection<burrow.http.http2_server.connection>}. The agent's connections to upstreams, of which each has
one request at a time, are of the library h2 (L{burrow.http.http2}).
"""
