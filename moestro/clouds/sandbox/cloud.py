"""The sandbox's client: the one of the real marketplace, with another address and no rate limits."""

import os
from functools import cache

import httpx

from moestro.clouds.sandbox.app import create_app
from moestro.clouds.sandbox.home import Home
from moestro.clouds.sandbox.service import Sandbox
from moestro.clouds.sandbox.transport import InProcess
from moestro.clouds.spheron.client import Spheron
from moestro.clouds.spheron.http import Api, Limits

URL_VARIABLE = "MOESTRO_SANDBOX_URL"
TOKEN_VARIABLE = "MOESTRO_SANDBOX_TOKEN"
RETRY_SECONDS = 0.2
POLL_SECONDS = 0.5
SETTLE_SECONDS = 10.0


def sandbox() -> Spheron:
    """The client of the sandbox that ``$MOESTRO_SANDBOX_URL`` serves, else of the current home, in this process."""
    return client_of(Home.current(), os.environ.get(URL_VARIABLE))


@cache
def client_of(home: Home, url: str | None = None) -> Spheron:
    """The client of one home, whatever the environment says; over HTTP where its ``url`` is given."""
    http = httpx.Client(base_url=url) if url else httpx.Client(base_url="http://sandbox", transport=in_process(home))
    api = Api(
        http, lambda: os.environ.get(TOKEN_VARIABLE) or home.token(), Limits(retry_seconds=RETRY_SECONDS), "sandbox"
    )
    return Spheron(api, minimum_usd=0.0, poll_seconds=POLL_SECONDS, settle_seconds=SETTLE_SECONDS)


def in_process(home: Home) -> httpx.BaseTransport:
    """A transport to the sandbox of ``home`` without a server."""
    return InProcess(create_app(Sandbox(home), home.token))
