"""Names and ports that the gateway and the engines must agree on."""

STATUS_PORT = 8089  # of nginx's own status page, on loopback of the gateway's host


def engine_name(service: str) -> str:
    """The name in every engine's certificate that nginx verifies, whichever replica it reaches.

    nginx takes one ``proxy_ssl_name`` a location, not one an upstream server, so all engines of a service share it.
    """
    return f"{service}.engine.moestro.internal"
