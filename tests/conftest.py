"""Settings of all tests."""

from hypothesis import settings

# Hypothesis times every example by default; on a busy machine that finds the neighbours' load, not our bugs.
settings.register_profile("moestro", deadline=None)
settings.load_profile("moestro")
