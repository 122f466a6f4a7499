"""
C{burrow server} on systems with inherited sockets: a parent process, which serves nobody, and the worker
processes, which serve and which the parent starts and replaces.
"""
