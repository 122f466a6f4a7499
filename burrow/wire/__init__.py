"""The bytes on the wire: no I/O, no clock, no Twisted. Bytes in, events out; bytes out on request."""
