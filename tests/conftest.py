"""Settings of all tests."""

import signal

from hypothesis import settings

# Hypothesis times every example by default; on a busy machine that finds the neighbours' load, not our bugs.
settings.register_profile("moestro", deadline=None)
settings.load_profile("moestro")

# A shell ignores SIGINT for what it starts in the background, and so would everything that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
