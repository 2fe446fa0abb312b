"""``moestro models``, ``moestro gpus`` and ``moestro prices``: what the catalog holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from moestro.planning.cost import Price

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def models(json: Json = False) -> int:
    """List the models that need no download to be planned."""
    from moestro.catalog import load_model
    from moestro.catalog.models import entries

    rows = []
    for name in entries():
        model = load_model(name)
        rows.append(
            {
                "name": name,
                "repository": model.repo,
                "parameters_b": round(model.parameters / 1e9, 1),
                "active_b": round(model.active_parameters / 1e9, 1),
                "precision": model.precision,
                "attention": str(model.attention.kind),
                "experts": f"{model.experts.count} top {model.experts.top_k}" if model.experts else "dense",
                "context": model.max_context,
                "weights_gib": round(model.file_gib, 1),
                "gated": model.gated,
                "source": model.source,
            }
        )
    return _show(rows, json, hidden=("gated", "source"))


def gpus(json: Json = False) -> int:
    """List the GPU types that the planner knows."""
    from moestro.catalog import gpus as known

    rows = [
        {
            "name": gpu.name,
            "title": gpu.title,
            "memory_gib": gpu.memory_gib,
            "memory_label": str(gpu.memory_label),
            "bandwidth_gb_s": gpu.bandwidth_gb_s,
            "interconnect": gpu.interconnect,
            "interconnect_gb_s": gpu.interconnect_gb_s,
            "compute_capability": "{}.{}".format(*gpu.compute_capability),
            "native": " ".join(gpu.native_dtypes),
            "source": gpu.source,
        }
        for gpu in known().values()
    ]
    return _show(rows, json, hidden=("source",))


def prices(
    json: Json = False,
    live: Annotated[str | None, typer.Option(help="Ask the offers of this cloud (spheron, sandbox).")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Offers of this region; may be repeated.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the list for `moestro plan --prices`.")] = None,
) -> int:
    """List prices of one GPU an hour, dated: the catalog's, or a cloud's offers of now."""
    from moestro.catalog import load_prices
    from moestro.catalog.prices import write_prices

    if live is None:
        found = list(load_prices().values())
    else:
        from moestro.commands.live_prices import live_prices  # brings a cloud's client

        found = live_prices(live, tuple(region or ()))
    if save is not None:
        write_prices(save, found)
    code = _show([_price_row(one) for one in found], json)
    if not json:
        from moestro.catalog.seed import spot_use

        use = spot_use()
        print(f"Spot is for {', '.join(use.on_spot)}; on-demand for {', '.join(use.on_demand)} (the seed).")
        _tell_unpriced({one.gpu for one in found}, live, save)
    return code


def _price_row(price: "Price") -> dict[str, Any]:
    from moestro.planning.cost import spot_saving

    saving = spot_saving(price) if price.on_demand else None
    return {
        "gpu": price.gpu,
        "on_demand_usd_per_hour": price.on_demand,
        "spot_usd_per_hour": price.spot,
        "spot_saves_percent": None if saving is None else round(saving * 100, 1),
        "label": str(price.label),
        "date": price.date,
        "source": price.source,
    }


def _tell_unpriced(priced: set[str], live: str | None, save: Path | None) -> None:
    from moestro.catalog import gpus as known

    if missing := [name for name in known() if name not in priced]:
        print(f"No price known: {', '.join(missing)}.")
    if live is None:
        print("`moestro prices --live spheron --save FILE` asks the cloud; `moestro plan --prices FILE` uses the list.")
    elif save is not None:
        print(f"wrote {save}: use it with `moestro plan --prices {save}`")


def _show(rows: list[dict[str, Any]], as_json: bool, hidden: tuple[str, ...] = ()) -> int:
    if as_json:
        import json

        print(json.dumps(rows, indent=2))
        return 0
    from moestro.report.text import show, table

    headings = [key for key in rows[0] if key not in hidden]
    right = [n for n, key in enumerate(headings) if isinstance(rows[0][key], int | float)]
    show(
        table(
            [key.replace("_", " ") for key in headings], [[_cell(row[key]) for key in headings] for row in rows], right
        )
    )
    return 0


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
