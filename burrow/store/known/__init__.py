"""
A store in Redis that may go away, or lose something or everything, while its server goes on.

What the server has seen of Redis it remembers: all tokens and reservations, what was revoked and released,
and the lasting notes that went through here. From that

- it answers while Redis is away: known tokens and the names they own; anything else is a L{StoreError};
- it writes, once Redis is back, what could not be written: renewed reservations, and when tokens were used;
- it merges what it knows into a Redis that went back (L{burrow.store.redis.guard}), before it believes that
  something is not there; and then waits a little for what other servers know, before it says so. Of two
  records of one token or name the one with the higher version counts; what has a mark does not come back.

What bounds it: as much as is in Redis, which the holders of tokens decide.
"""
