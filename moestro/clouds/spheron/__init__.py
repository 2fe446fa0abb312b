"""Spheron's marketplace (https://app.spheron.ai) as a :class:`moestro.clouds.base.Cloud`."""

import os
from functools import cache

import httpx

from moestro.clouds.spheron.client import Spheron
from moestro.clouds.spheron.http import Api, Limits
from moestro.errors import NotAuthorized

BASE_URL = "https://app.spheron.ai"
KEY_VARIABLE = "SPHERON_API_KEY"
MINIMUM_USD = 3.0  # what Spheron wants in the account before it deploys anything
POLL_SECONDS = 20.0  # it asks for 15 to 30 and never less than 10

__all__ = ["BASE_URL", "KEY_VARIABLE", "MINIMUM_USD", "POLL_SECONDS", "Spheron", "spheron"]


@cache
def spheron() -> Spheron:
    """The client of the real marketplace: one a process, so that all its users share the cloud's rate limits."""
    api = Api(httpx.Client(base_url=BASE_URL), key_from_environment, Limits.published(), cloud="spheron")
    return Spheron(api, minimum_usd=MINIMUM_USD, poll_seconds=POLL_SECONDS)


def key_from_environment() -> str:
    """The API key as the environment has it now; raises :class:`NotAuthorized` when there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise NotAuthorized(
            f"{KEY_VARIABLE} is not set: make a key at {BASE_URL}/settings?tab=api and run `export {KEY_VARIABLE}=…`"
        )
    return key
