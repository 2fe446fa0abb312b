"""The proof that a stack serves: every replica must have answered through the gateway."""

import json
import runpy
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import httpx
import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts/prove.py"))
OUTPUTS = {
    "endpoint": "http://192.0.2.7:8080",
    "apiKey": "the-key",
    "plan": {"model": "tiny-mixtral"},
    "replicas": [{"name": "local-0"}, {"name": "local-1"}],
}


def gateway(*replicas: str) -> Callable[[httpx.Request], httpx.Response]:
    """A gateway that passes its requests to these replicas in turn."""
    turns = cycle(replicas)

    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://192.0.2.7:8080/v1/completions"
        assert request.headers["Authorization"] == "Bearer the-key"
        assert json.loads(request.content)["model"] == "tiny-mixtral"
        name = next(turns)
        return httpx.Response(200, headers={"X-Moestro-Replica": name}, json={"choices": [{"text": f"I am {name}"}]})

    return answer


def prove(answer: Callable[[httpx.Request], httpx.Response]) -> dict[str, str]:
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        answers: dict[str, str] = SCRIPT["prove"](OUTPUTS, client)
    return answers


def test_shows_an_answer_of_every_replica() -> None:
    answers = prove(gateway("local-1", "local-1", "local-0"))
    assert answers == {"local-0": "I am local-0", "local-1": "I am local-1"}


def test_names_a_replica_that_never_answers() -> None:
    with pytest.raises(SCRIPT["NotServingError"], match=r"20 completions, and none came from local-0$"):
        prove(gateway("local-1"))


def test_says_what_the_gateway_refused_without_the_key() -> None:
    with pytest.raises(SCRIPT["NotServingError"], match=r"POST http://192.0.2.7:8080/v1/completions: .*502") as refused:
        prove(lambda _: httpx.Response(502))
    assert "the-key" not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>welcome</html>", headers={"X-Moestro-Replica": "local-0"}),
        httpx.Response(200, json={"choices": []}, headers={"X-Moestro-Replica": "local-0"}),
        httpx.Response(200, json={"choices": [{"text": "from somebody else"}]}),
    ],
)
def test_says_that_something_else_answers(answer: httpx.Response) -> None:
    with pytest.raises(SCRIPT["NotServingError"], match="HTTP 200, but no completion of a replica"):
        prove(lambda _: answer)


def test_says_that_nobody_listens() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(SCRIPT["NotServingError"], match="connection refused"):
        prove(refuse)
