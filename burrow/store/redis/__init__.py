"""
The store in Redis, by txredisapi: for state apart from the server's disk.

Keys, all under C{burrow:}::

    tokens          hash   token id -> JSON
    token-names     hash   token's name -> id
    reservations    hash   name -> JSON
    ports           hash   port -> name
    remembered      hash   token, agent, kind, upstream -> name
    notes:SPACE     hash   key -> when its time is over, in seconds since the epoch or empty, newline, text
    notes:SPACE:ends  zset  keys by when their time is over; each write removes some that are over

and those of L{burrow.store.redis.guard}. What must happen in one step is a Lua script: Redis runs no other
command in between. The guard begins each with its functions C{key}, C{decoded}, C{marked} and C{mark}.
"""
