"""The kind "udp": a public UDP port. Each visitor's address has a stream, on which datagrams stay whole."""
