"""What passes between visitors and upstreams, seen at the agent and told to C{Agent.traffic}."""
