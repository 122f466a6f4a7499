"""What all tests share: hypothesis's settings."""

from hypothesis import settings

# A test of behaviour says nothing of time: a busy machine is no failure. scripts/test ends one that hangs.
settings.register_profile("burrow", deadline=None, print_blob=True)
settings.load_profile("burrow")
