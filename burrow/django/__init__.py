"""
A Django app: with DEBUG, a project that C{burrow run} has started takes the requests of its tunnel's URL.

It imports nothing of Burrow, and Django imports it by name: C{INSTALLED_APPS = [..., "burrow.django"]}.
"""
