"""
The store in one SQLite file: the default, for one machine.

What somebody was told is on the disk before: a transaction with tokens, reservations or lasting notes ends
with fsync. One with notes that have a time, or with a token's last use, does not: a power failure may take
the last of them and leaves the file sound, since WAL is synced before it is copied (synchronous = NORMAL).
"""
