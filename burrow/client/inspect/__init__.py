"""
The inspector: keeps what passed through the agent's tunnels, and shows it to a browser and to programs.

L{burrow.client.inspect.store} listens to the agent's traffic. Nothing is parsed or decoded until somebody
asks.
"""
