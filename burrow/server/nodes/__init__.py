"""The other nodes of the same store: which are alive, which tunnels they hold, and the links to them."""
