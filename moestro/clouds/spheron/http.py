"""Requests to Spheron: who we are, how fast we may ask, what may be asked again and what never."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from moestro import __version__
from moestro.clouds.spheron.limits import Window
from moestro.clouds.spheron.wire import refusal
from moestro.errors import AmbiguousOutcome, CloudError, NotAuthorized, RateLimited
from moestro.waiting import Wait

USER_AGENT = f"moestro/{__version__}"  # a library's default agent is answered with 403
READ_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
ORDER_TIMEOUT = httpx.Timeout(180.0, connect=10.0)  # allocation is synchronous: 20 to 40 s are usual
ATTEMPTS = 5
RETRY_AFTER_SECONDS = 30.0  # where a 429 does not say

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class Limits:
    """How often we may ask, and how long to pause between attempts; ``None`` means without limit."""

    requests: Window | None = None
    orders: Window | None = None
    retry_seconds: float = 1.0

    @classmethod
    def published(cls) -> "Limits":
        """The lower of the two published request limits (100 or 250 a quarter of an hour) and ten orders."""
        return cls(Window(100, 900.0), Window(10, 900.0))


@dataclass(frozen=True)
class Answer:
    """One reply. ``source`` says whose, for messages; ``body`` is ``None`` when the reply was empty."""

    source: str
    status: int
    body: object
    retry_after: str | None = field(default=None)

    @property
    def ok(self) -> bool:
        """Whether the request was fulfilled."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        said = refusal(self.body)
        text = ": ".join(part for part in (said.error, said.message) if part) or str(self.body or "no explanation")
        return f"{self.source} answered {self.status}: {' '.join(text.split())[:300]}"


class Api:
    """One cloud's HTTP interface.

    Args:
        client: knows the base URL and the transport, nothing else.
        key: gives the API key when it is needed; raises :class:`NotAuthorized` when there is none.
        limits: how often we may ask.
        cloud: the cloud's name, for messages.
    """

    def __init__(self, client: httpx.Client, key: Callable[[], str], limits: Limits, cloud: str) -> None:
        self.cloud = cloud
        self._client = client
        self._key = key
        self._limits = limits

    def repeatable(
        self,
        method: str,
        path: str,
        wait: Wait,
        *,
        params: Mapping[str, Any] | None = None,
        payload: object = None,
        public: bool = False,
    ) -> Answer:
        """Send a request that does no harm when sent twice: 5xx and lost connections are tried again.

        A ``public`` request is also sent without a key where there is none.
        """
        for attempt in wait.backoff(self._limits.retry_seconds):
            try:
                answer = self._ask(method, path, wait, timeout=READ_TIMEOUT, params=params, json=payload, public=public)
                if answer.status < 500:
                    return answer
                failure = str(answer)
            except httpx.RequestError as error:
                failure = f"{self._source(method, path)} got no answer ({type(error).__name__})"
            if attempt >= ATTEMPTS:
                raise CloudError(f"{failure}; gave up after {attempt} attempts")
            wait.report(f"{failure}; trying again")
        raise AssertionError("backoff only ends by raising")

    def once(self, path: str, wait: Wait, payload: object, *, order: bool = False) -> Answer:
        """POST that must not be sent twice. Only a 429 is sent again, because the cloud turned it away unread.

        Raises:
            AmbiguousOutcome: no clear answer came, so it may have been accepted.
            CloudError: the connection was never made, so it was not.
        """
        source = self._source("POST", path)
        if order and self._limits.orders:
            self._limits.orders.take(wait)
        try:
            answer = self._ask("POST", path, wait, timeout=ORDER_TIMEOUT, json=payload)
        except _NEVER_SENT as error:
            raise CloudError(f"{source} could not connect ({type(error).__name__}): nothing was sent") from None
        except httpx.RequestError as error:
            raise AmbiguousOutcome(f"{source} got no answer ({type(error).__name__}): it may be accepted") from None
        if answer.status >= 500 or answer.status == 408:
            raise AmbiguousOutcome(f"{answer}: it may be accepted")
        return answer

    def _ask(self, method: str, path: str, wait: Wait, *, public: bool = False, **sent: Any) -> Answer:
        key = self._usable_key(public)
        while True:
            if self._limits.requests:
                self._limits.requests.take(wait)
            wait.check()
            response = self._client.request(method, path, headers=_headers(key), **sent)
            answer = _read(self._source(method, path), response, key)
            if answer.status != 429:
                return answer
            _stand_back(answer, wait)

    def _usable_key(self, public: bool) -> str | None:
        try:
            key = self._key()
        except NotAuthorized:
            if public:
                return None
            raise
        if key.isascii() and key.isprintable() and " " not in key:
            return key
        # An HTTP library would quote the whole header in its complaint.
        raise NotAuthorized(f"the API key of {self.cloud} holds characters no key has: set it again")

    def _source(self, method: str, path: str) -> str:
        return f"{self.cloud}: {method} {path}"


def _headers(key: str | None) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    return headers if key is None else headers | {"Authorization": f"Bearer {key}"}


def _read(source: str, response: httpx.Response, key: str | None) -> Answer:
    text = response.text.strip()
    if key and not response.is_success:
        text = text.replace(key, "[key]")  # errors are shown and logged, and some servers quote what they were sent
    body: object
    try:
        body = json.loads(text) if text else None
    except ValueError:
        body = text
    return Answer(source, response.status_code, body, response.headers.get("Retry-After"))


def _stand_back(answer: Answer, wait: Wait) -> None:
    """Sleep as long as a 429 asks for; raises :class:`RateLimited` when that is beyond the deadline."""
    seconds = _asked_pause(answer)
    remaining = wait.remaining()
    if remaining is not None and seconds > remaining:
        raise RateLimited(f"{answer}; it asks for {seconds:.0f} s, beyond this operation's time limit: run again later")
    wait.report(f"{answer.source} asks us to wait {seconds:.0f} s")
    wait.sleep(seconds)


def _asked_pause(answer: Answer) -> float:
    said = refusal(answer.body).retry_after
    if said is None and answer.retry_after and answer.retry_after.isdigit():
        said = float(answer.retry_after)
    return RETRY_AFTER_SECONDS if said is None else max(1.0, said)
