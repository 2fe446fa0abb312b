"""What an engine is doing for its clients, read from its metrics on its own host."""

import shlex
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from moestro.errors import CommandFailed, DeadlineExceeded
from moestro.hosts.probe import METRICS_SECONDS, Door
from moestro.hosts.ssh import Host
from moestro.waiting import Wait

IDLE_LOOKS = 3  # in a row, because a request between nginx and the scheduler is in neither's count
PROGRESS_SECONDS = 30.0  # in which an engine that computes has computed something

# Requests that an engine has taken and not answered. vLLM's, then SGLang's names (--enable-metrics).
IN_FLIGHT = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "sglang:num_grammar_queue_reqs",
)
# Tokens of prompts and answers, counted at every step. SGLang's other counters wait for a request's end.
COMPUTED = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "sglang:realtime_tokens_total")


@dataclass(frozen=True, slots=True)
class Activity:
    """One look at an engine's metrics, summed over all data-parallel ranks.

    Attributes:
        in_flight: requests that it has taken and not answered.
        tokens: what it has computed since it started, prompts and answers.
    """

    in_flight: int
    tokens: float


def observe(host: Host, door: Door) -> Activity | None:
    """What the engine is doing; None where it cannot be asked."""
    names = "|".join((*IN_FLIGHT, *COMPUTED))
    line = f"set -o pipefail; curl --config - | grep -E {shlex.quote(f'^({names})[{{ ]')}"
    try:
        text = host.run(line, input=door.curl("/metrics", METRICS_SECONDS), timeout=METRICS_SECONDS + 10).stdout
    except CommandFailed:
        return None
    return parse_activity(text)


def parse_activity(metrics: str) -> Activity:
    """Read a metrics page in the Prometheus text format."""
    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    in_flight = sum(sample.value for sample in samples if sample.name in IN_FLIGHT)
    return Activity(int(in_flight), sum(sample.value for sample in samples if sample.name in COMPUTED))


def await_idle(host: Host, door: Door, replica: str, limited: Wait) -> None:
    """Until nothing is in flight and nothing was computed since the look before, or until time is up.

    An engine that does not answer serves nobody.

    Raises:
        Cancelled: from the wait.
    """
    idle, before = 0, None
    while idle < IDLE_LOOKS:
        seen = observe(host, door)
        if seen is None:
            return
        if seen.in_flight and (before is None or before.in_flight != seen.in_flight):
            limited.report(f"{replica}: {seen.in_flight} request(s) in flight")
        # SGLang updates its count at every 40th step alone; its tokens tell of a request that has just begun.
        quiet = not seen.in_flight and (before is None or before.tokens == seen.tokens)
        idle, before = idle + 1 if quiet else 0, seen
        try:
            limited.sleep(0.3 if quiet else 1.0)
        except DeadlineExceeded:
            return


def computes(host: Host, door: Door, wait: Wait) -> Activity | None:
    """How the engine is getting on with requests that it has; None where it has none, or gets nowhere.

    Raises:
        Cancelled, DeadlineExceeded: from the wait.
    """
    first: Activity | None = None
    try:
        for _ in wait.limited(PROGRESS_SECONDS).backoff(first=1.0, most=5.0):
            seen = observe(host, door)
            if seen is None:
                continue  # an engine under load may take too long for an answer
            if not seen.in_flight:
                return None
            first = first or seen
            if seen.tokens > first.tokens:
                return seen
    except DeadlineExceeded:
        wait.check()
    return None
