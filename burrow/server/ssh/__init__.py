"""
Agents that are a plain C{ssh -R}: no program of ours. See L{burrow.server.ssh.service}.

Nothing of it is imported unless C{--ssh} is given: Twisted's conch takes a while, and needs packages of its
own.
"""
