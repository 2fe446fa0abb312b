"""The clouds, as the resources reach them: opened by name when a request needs one, and replaceable in tests."""

from collections.abc import Callable

from moestro.clouds.base import Cloud

CloudOpener = Callable[[str], Cloud]


def open_cloud(name: str) -> Cloud:
    """The client of a cloud; its libraries load only now, not when the plugin starts."""
    from moestro.clouds import open_cloud as opened

    return opened(name)
