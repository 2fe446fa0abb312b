"""Holding requests and replies against the contract's OpenAPI extract."""

from functools import cache
from pathlib import Path

import httpx
import yaml
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

EXTRACT = Path(__file__).parents[2] / "fixtures" / "openapi" / "spheron.yaml"


class Validated(httpx.BaseTransport):
    """Passes requests on and fails on any request or reply that the contract does not allow."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self.seen: list[tuple[str, str, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked = _asked(request)
        contract().validate_request(asked)
        response = self._inner.handle_request(request)
        response.read()
        if response.content:  # several replies may be empty
            contract().validate_response(asked, _answered(response))
        self.seen.append((request.method, request.url.path, response.status_code))
        return response


@cache
def contract() -> OpenAPI:
    """The extract."""
    return OpenAPI.from_dict(yaml.safe_load(EXTRACT.read_text()))


def _asked(request: httpx.Request) -> MockRequest:
    return MockRequest(
        "http://localhost",
        request.method.lower(),
        request.url.path,
        args=dict(request.url.params),
        headers=dict(request.headers),
        data=request.read() or None,
        content_type="application/json",
    )


def _answered(response: httpx.Response) -> MockResponse:
    return MockResponse(response.content, status_code=response.status_code, content_type="application/json")
