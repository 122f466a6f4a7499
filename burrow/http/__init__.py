"""HTTP/1.1 messages as both ends read them: heads, fields and bodies. No I/O."""
