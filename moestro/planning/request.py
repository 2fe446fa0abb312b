"""What is asked of the planner, checked: every impossible value is refused in one line."""

import re
from dataclasses import dataclass, field

from moestro.errors import InvalidInput
from moestro.planning.cost import HOURS_PER_DAY, ON_DEMAND, SPOT
from moestro.planning.kv import element_bytes
from moestro.planning.layout import ANY, Wanted
from moestro.planning.model import ModelSpec

LARGEST_COUNT = 1024
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:\.?(?:post|rc)\d+)?")


@dataclass(frozen=True, slots=True)
class Request:
    """The load, and what the caller decides instead of the planner.

    Attributes:
        count: GPUs of one replica; None lets the planner take the fewest that hold the load.
        context: tokens of prompt and answer; None takes the model's own maximum, lowered to what the memory holds.
        concurrency: requests in flight at full context.
        kv_headroom: the share of the cache to keep free beyond that (0.2: a fifth more).
        wanted: an exact layout, or parts of one.
        cpu_kv_cache_gib: cache of one worker on the CPU device.
        max_nodes: nodes at most, where the planner chooses the count.
        output_tokens: length of an answer, for the latency estimate.
        p95_seconds: what a whole answer may take; where no concurrency is asked for, the estimate is of as many
            requests in flight as keep to it.
        hours_per_day: of a batch job, for what spot saves of its cost.
    """

    count: int | None = None
    context: int | None = None
    concurrency: int | None = None
    kv_headroom: float = 0.0
    wanted: Wanted = ANY
    engine: str = "vllm"
    engine_version: str | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_dtype: str = "auto"
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool = False
    prefix_caching: bool = True
    purchase: str = ON_DEMAND
    cpu_kv_cache_gib: int = 1
    max_nodes: int = 4
    output_tokens: int = 256
    p95_seconds: float | None = None
    hours_per_day: float = HOURS_PER_DAY
    extra_args: tuple[str, ...] = field(default_factory=tuple)


def check(request: Request, model: ModelSpec) -> None:
    """Refuse what cannot be.

    Raises:
        InvalidInput: one line naming the value and what is possible.
    """
    _between("count", request.count, 1, LARGEST_COUNT)
    _between("context", request.context, 1, model.max_context, f"the maximum of {model.name}")
    _between("concurrency", request.concurrency, 1, 1 << 20)
    _between("max_num_batched_tokens", request.max_num_batched_tokens, 1, 1 << 20)
    _between("max_num_seqs", request.max_num_seqs, 1, 1 << 16)
    _between("max_nodes", request.max_nodes, 1, 128)
    _between("cpu_kv_cache_gib", request.cpu_kv_cache_gib, 1, 4096)
    for name in ("tp", "pp", "dp", "dcp", "nodes"):
        _between(name, getattr(request.wanted, name), 1, LARGEST_COUNT)
    _between("kv_headroom", request.kv_headroom, 0, 100)
    _between("hours_per_day", request.hours_per_day, 0, 24)
    utilization = request.gpu_memory_utilization
    if utilization is not None and not 0.1 <= utilization < 1:
        raise InvalidInput(f"gpu_memory_utilization {utilization} is not from 0.1 to below 1; 0.90 leaves headroom")
    if request.purchase not in (ON_DEMAND, SPOT):
        raise InvalidInput(f"purchase '{request.purchase}' is not known: choose '{ON_DEMAND}' or '{SPOT}'")
    if request.engine not in ("vllm", "sglang"):
        raise InvalidInput(f"engine '{request.engine}' is not known: choose 'vllm' or 'sglang'")
    if request.engine_version is not None and not _VERSION.fullmatch(request.engine_version):
        raise InvalidInput(f"engine_version '{request.engine_version}' is not of the form 0.33.0")
    _check_batch(request)
    _check_product(request)
    element_bytes(request.kv_cache_dtype)


def _between(name: str, value: float | None, least: float, most: float, what: str = "") -> None:
    if value is None or least <= value <= most:
        return
    limit = f"{most} is {what}" if what else f"choose from {least} to {most}"
    raise InvalidInput(f"{name} {value} is impossible: {limit}" if value > most else f"{name} {value} is below {least}")


def _check_batch(request: Request) -> None:
    tokens, sequences = request.max_num_batched_tokens, request.max_num_seqs
    if tokens is not None and sequences is not None and tokens < sequences:
        raise InvalidInput(
            f"max_num_batched_tokens {tokens} is less than max_num_seqs {sequences}: each takes a token a step"
        )


def _check_product(request: Request) -> None:
    wanted = request.wanted
    if request.count is None or wanted.tp is None or wanted.pp is None or wanted.dp is None:
        return
    product = wanted.tp * wanted.pp * wanted.dp
    if product != request.count:
        raise InvalidInput(
            f"tp {wanted.tp} x pp {wanted.pp} x dp {wanted.dp} is {product} GPUs, not count {request.count}"
        )
