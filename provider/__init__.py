"""The Pulumi provider plugin of the package ``moestro``: create, read, update and delete of each custom resource.

``server`` speaks gRPC with the engine; ``lifecycle`` turns its requests into calls of a :class:`Resource`; one module
per custom resource does the work through :mod:`moestro.clouds` and :mod:`moestro.hosts`.
"""
