"""The commands of ``moestro``, one module each. A module imports only what parsing its options needs.

Everything heavier is imported when a command runs, so that ``moestro plan`` starts in a fraction of a second.
"""
