"""Requests to an app in this process, for a client that believes it speaks over a network."""

import anyio
import httpx
from anyio.from_thread import start_blocking_portal
from starlette.types import ASGIApp


class InProcess(httpx.BaseTransport):
    """Carries a synchronous client's requests to an ASGI app.

    Each request gets an event loop of its own for as long as it takes (about a millisecond more): no thread outlives
    it, so nothing has to be stopped at the end of the process and forks are harmless.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, with a network's ways to fail."""
        request.read()
        with start_blocking_portal() as portal:
            return portal.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            with anyio.fail_after(request.extensions["timeout"]["read"]):
                response = await self._asgi.handle_async_request(request)
                content = await response.aread()
        except TimeoutError:
            raise httpx.ReadTimeout("no answer in time", request=request) from None
        if len(content) < int(response.headers.get("content-length", 0)):
            raise httpx.RemoteProtocolError("the connection broke off", request=request)
        return httpx.Response(response.status_code, headers=response.headers, content=content)
