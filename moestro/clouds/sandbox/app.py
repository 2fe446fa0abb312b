"""The sandbox over HTTP: the paths, bodies and errors of Spheron's contract."""

import hmac
from collections.abc import Callable
from typing import Annotated, Any

import anyio
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.types import Receive, Scope, Send

from moestro.clouds.sandbox import offers
from moestro.clouds.sandbox.orders import OrderBody
from moestro.clouds.sandbox.service import Refusal, Reply, Sandbox


class NameBody(BaseModel):
    """The body of a renaming."""

    name: str


class KeyBody(BaseModel):
    """The body of a key's registration."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")

    name: str
    public_key: str


class BrokenReply(Response):
    """A reply that announces a body and never sends it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then break off: a server closes the connection at this exception."""
        del scope, receive
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"512")]})
        raise ConnectionResetError


def create_app(sandbox: Sandbox, token: Callable[[], str]) -> FastAPI:
    """The app of one sandbox, which answers those who know its token."""
    app = FastAPI(title="Moestro sandbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.token = token
    known = [Depends(_check_token)]
    _add_errors(app)
    _add_catalogue(app)
    _add_deployments(app, sandbox, known)
    _add_account(app, sandbox, known)
    return app


def _check_token(request: Request, authorization: Annotated[str, Header()] = "") -> None:
    if not hmac.compare_digest(authorization.encode(), f"Bearer {request.app.state.token()}".encode()):
        raise HTTPException(401, "Unauthorized")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body, refusal.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": "Validation failed", "message": f"{where}: {first['msg']}"}, 400)

    @app.exception_handler(HTTPException)
    async def failed(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "Internal server error", "message": f"{type(error).__name__}: {error}"}, 500)


def _add_catalogue(app: FastAPI) -> None:
    @app.get("/api/providers")
    def providers() -> list[str]:
        return offers.providers()

    @app.get("/api/gpu-offers")
    def gpu_offers(page: int = 1, limit: int = 10, instanceType: str | None = None) -> Reply:
        group = offers.group(instanceType)
        groups = [group] if group else []
        return _page(groups, page, limit, "data")


def _add_deployments(app: FastAPI, sandbox: Sandbox, known: list[Any]) -> None:
    @app.post("/api/deployments", dependencies=known)
    async def order(body: OrderBody) -> Response:
        accepted = await run_in_threadpool(sandbox.order, body)
        await anyio.sleep(accepted.delay_seconds)
        if accepted.drops:
            return BrokenReply()
        if accepted.fails:
            return JSONResponse({"error": "Bad gateway"}, 502)
        return JSONResponse(accepted.reply, 201)

    @app.get("/api/deployments", dependencies=known)
    def list_all(status: str | None = None, page: int = 1, limit: int = 20) -> list[Reply]:
        return _slice(sandbox.find(status), page, limit)

    @app.get("/api/deployments/{deployment_id}", dependencies=known)
    def get_one(deployment_id: str) -> Reply:
        return sandbox.get(deployment_id)

    @app.patch("/api/deployments/{deployment_id}", dependencies=known)
    def rename(deployment_id: str, body: NameBody) -> Reply:
        return sandbox.rename(deployment_id, body.name)

    @app.delete("/api/deployments/{deployment_id}", dependencies=known)
    def terminate(deployment_id: str) -> Reply:
        return sandbox.terminate(deployment_id)

    @app.get("/api/deployments/{deployment_id}/can-terminate", dependencies=known)
    def can_terminate(deployment_id: str) -> Reply:
        return sandbox.can_terminate(deployment_id)


def _add_account(app: FastAPI, sandbox: Sandbox, known: list[Any]) -> None:
    @app.get("/api/balance", dependencies=known)
    def balance() -> Reply:
        return sandbox.balance()

    @app.get("/api/teams", dependencies=known)
    def teams() -> list[Reply]:
        return [{"id": offers.TEAM_ID, "name": offers.TEAM_NAME}]

    @app.get("/api/ssh-keys", dependencies=known)
    def keys() -> list[Reply]:
        return sandbox.keys()

    @app.post("/api/ssh-keys", dependencies=known, status_code=201)
    def add_key(body: KeyBody) -> Reply:
        return sandbox.add_key(body.name, body.public_key)

    @app.get("/api/ssh-keys/{key_id}", dependencies=known)
    def key(key_id: str) -> Reply:
        return sandbox.key(key_id)

    @app.delete("/api/ssh-keys/{key_id}", dependencies=known)
    def remove_key(key_id: str) -> Reply:
        return sandbox.remove_key(key_id)


def _slice(items: list[Reply], page: int, limit: int) -> list[Reply]:
    first = (max(1, page) - 1) * max(1, limit)
    return items[first : first + max(1, limit)]


def _page(items: list[Reply], page: int, limit: int, name: str) -> Reply:
    pages = -(-len(items) // max(1, limit))
    return {name: _slice(items, page, limit), "total": len(items), "page": page, "limit": limit, "totalPages": pages}
