"""The other nodes of the same store: who is alive, who holds which tunnel, and the links between them."""
