"""Clouds to rent machines from. :func:`open_cloud` is the only way to a client."""

import difflib
from collections.abc import Callable

from moestro.clouds.base import Cloud
from moestro.errors import InvalidInput

__all__ = ["Cloud", "cloud_names", "open_cloud"]


def open_cloud(name: str) -> Cloud:
    """The client of the cloud called ``name``; credentials are read when they are used, not here.

    Raises:
        InvalidInput: there is no such cloud.
    """
    opener = _OPENERS.get(name)
    if opener is not None:
        return opener()
    near = difflib.get_close_matches(name.lower(), _OPENERS, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known clouds: {', '.join(cloud_names())}"
    raise InvalidInput(f"cloud: '{name}' is not known; {hint}")


def cloud_names() -> list[str]:
    """Every name that :func:`open_cloud` knows."""
    return sorted(_OPENERS)


def _spheron() -> Cloud:
    from moestro.clouds.spheron import spheron

    return spheron()


def _sandbox() -> Cloud:
    from moestro.clouds.sandbox.cloud import sandbox

    return sandbox()


# A client's libraries load when it is opened: previews of other clouds must not pay for them.
_OPENERS: dict[str, Callable[[], Cloud]] = {"sandbox": _sandbox, "spheron": _spheron}
