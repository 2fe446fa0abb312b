"""Prove that a stack serves: a completion from each of its replicas, through its gateway.

`pulumi stack output --show-secrets --json | scripts/prove.py` prints one line a replica, and fails when one does not
answer. The outputs come on standard input, so that the API key is in no process list.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import httpx

REPLICA_HEADER = "X-Moestro-Replica"
"""In which the gateway says who answered."""
ATTEMPTS_PER_REPLICA = 10
PROMPT = "Mixture of Experts means"


class NotServingError(Exception):
    """The stack does not serve as it should; the message says what was asked and what came back."""


def prove(outputs: Mapping[str, Any], client: httpx.Client) -> dict[str, str]:
    """What each replica answered, by its name. The gateway spreads the requests; enough are sent to meet every one.

    Raises NotServingError when a request fails, or when some replica never answers.
    """
    expected = {replica["name"] for replica in outputs["replicas"]}
    answers: dict[str, str] = {}
    for _ in range(ATTEMPTS_PER_REPLICA * len(expected)):
        replica, text = _complete(outputs, client)
        answers.setdefault(replica, text)
        if expected <= set(answers):
            return answers
    silent = ", ".join(sorted(expected - set(answers)))
    raise NotServingError(f"{ATTEMPTS_PER_REPLICA * len(expected)} completions, and none came from {silent}")


def _complete(outputs: Mapping[str, Any], client: httpx.Client) -> tuple[str, str]:
    """One completion, as (the replica's name, its text)."""
    url = f"{outputs['endpoint']}/v1/completions"
    try:
        response = client.post(
            url,
            headers={"Authorization": f"Bearer {outputs['apiKey']}"},
            json={"model": outputs["plan"]["model"], "prompt": PROMPT, "max_tokens": 16},
        )
        response.raise_for_status()
        return response.headers[REPLICA_HEADER], response.json()["choices"][0]["text"]
    except httpx.HTTPError as error:
        raise NotServingError(f"POST {url}: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise NotServingError(f"POST {url}: HTTP {response.status_code}, but no completion of a replica") from None


def main() -> None:
    """Print each replica's answer; one line and exit code 1 when that fails."""
    with httpx.Client(timeout=60.0) as client:
        try:
            answers = prove(json.load(sys.stdin), client)
        except NotServingError as error:
            sys.exit(f"  the stack is up, but does not serve: {error}")
    for replica, text in sorted(answers.items()):
        print(f"  {replica} answers: {text!r}")


if __name__ == "__main__":
    main()
