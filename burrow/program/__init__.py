"""
Burrow inside a Python program: C{import burrow}, and the program has public URLs.

Layer: above L{burrow.client}. The program's threads and loops are on one side, the reactor's thread on the
other; L{burrow.program.home} is between them.
"""
