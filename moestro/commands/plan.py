"""``moestro plan``: its options. What they do is in moestro.commands.planning, imported when the command runs."""

from pathlib import Path
from typing import Annotated

import typer

from moestro.commands.options import PlanOptions


def plan(
    model: Annotated[
        str | None,
        typer.Argument(help="Catalog name, repository id, or directory with config.json."),
    ] = None,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", help="GPU type; may be repeated; 'auto' searches all.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="GPUs of one replica; the fewest that hold the load.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of prompt and answer; the longest that fits.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight at full context.")] = None,
    kv_headroom: Annotated[float, typer.Option(help="Share of the KV cache to keep free, such as 0.2.")] = 0.0,
    tp: Annotated[int | None, typer.Option(help="Tensor parallel size.")] = None,
    pp: Annotated[int | None, typer.Option(help="Pipeline parallel size.")] = None,
    dp: Annotated[int | None, typer.Option(help="Data parallel size.")] = None,
    ep: Annotated[bool | None, typer.Option("--ep/--no-ep", help="Expert parallelism.")] = None,
    dcp: Annotated[int | None, typer.Option(help="Decode context parallel size.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Machines of one replica.")] = None,
    engine: Annotated[str, typer.Option(help="vllm or sglang.")] = "vllm",
    engine_version: Annotated[str | None, typer.Option(help="Another release than the pinned one.")] = None,
    gpu_memory_utilization: Annotated[float | None, typer.Option(help="Share of a GPU for the engine.")] = None,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, fp8, ...")] = "auto",
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Tokens of one step.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Sequences in one step.")] = None,
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="No CUDA graphs.")] = False,
    spot: Annotated[bool, typer.Option("--spot", help="Buy on the spot market.")] = False,
    hours_per_day: Annotated[float | None, typer.Option(help="Hours of a daily batch job; the seed's 10.")] = None,
    max_price: Annotated[float | None, typer.Option(help="USD an hour of the replica, at most.")] = None,
    max_nodes: Annotated[int | None, typer.Option(help="Machines at most; 4, and 1 with --pin.")] = None,
    region: Annotated[list[str] | None, typer.Option("--region", help="Region to buy in; may be repeated.")] = None,
    min_tokens_per_second: Annotated[float | None, typer.Option(help="Output of the replica, at least.")] = None,
    max_p95_seconds: Annotated[float | None, typer.Option(help="p95 of a request, at most.")] = None,
    prices: Annotated[Path | None, typer.Option(help="A price list of `moestro prices --live`.")] = None,
    measured: Annotated[Path | None, typer.Option(help="Measured rates, in JSON.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the arithmetic with its sources.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Put the GPU types side by side.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained report.")] = None,
    pin: Annotated[Path | None, typer.Option(help="Write the chosen GPU into this stack file.")] = None,
    seed_tables: Annotated[bool, typer.Option("--seed-tables", help="Print the seed's tables, recomputed.")] = False,
) -> int:
    """Say what a model needs on which GPUs, why, and what it costs. Exit code 3 where nothing fits."""
    from moestro.commands.planning import run

    given = dict(locals())
    given.pop("run")
    gpus, regions = tuple(given.pop("gpu") or ()), tuple(given.pop("region") or ())
    return run(PlanOptions(gpus=gpus, regions=regions, **given))
