"""Plans and tables for a terminal. Rich draws the tables; a pipe gets the same text, unbounded and without colours."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from moestro.catalog.seed import Illustrative, illustrative, spot_use
from moestro.planning.cost import SPOT
from moestro.planning.plan import Memory, Plan
from moestro.report.checks import checks
from moestro.report.data import LEADER, launches
from moestro.report.explain import Line
from moestro.report.wording import NO_PRICE, command, count, gib, layout, machine, usd

_PIPE_WIDTH = 10_000
_LABEL = 14
_SHOWN_REJECTIONS = 6
_SHOWN_LAYOUTS = 3

PLAN_HEADINGS = ("GPUs", "layout", "weights", "KV tokens", "USD/h", "USD/month", "tokens/s*", "USD/M*", "fits")


def plan_text(plan: Plan, model_path: str | None = None, after: Sequence[Plan] = ()) -> str:
    """One plan, its reasons and its launch line; ``after`` are the next ones of a search, a line each."""
    verdict = "fits" if plan.memory.fits else "does not fit"
    lines = [f"{plan.model} on {machine(plan)}: {verdict}", ""]
    if plan.memory.labels:
        lines += [_field(name, text) for name, text in _fields(plan)]
    lines += _bullets("why", plan.reasons) + _bullets("mind", plan.warnings) + _rejections(plan)
    lines += _bullets("next would be", [_brief(one) for one in after])
    if plan.memory.fits:
        lines += ["", *_launch_lines(plan, model_path)]
    return "\n".join(lines)


def plan_row(plan: Plan) -> tuple[str, ...]:
    """The cells of one plan under PLAN_HEADINGS."""
    memory, cost = plan.memory, plan.cost
    known = bool(memory.labels)
    return (
        machine(plan),
        layout(plan.layout),
        gib(max(memory.weights_gib_per_gpu)) if known else "",
        count(memory.kv_tokens) if known else "",
        NO_PRICE if cost.usd_per_hour is None else usd(cost.usd_per_hour),
        "" if cost.usd_per_month is None else usd(cost.usd_per_month, 0),
        count(plan.throughput_tokens_per_second) if memory.fits else "",
        usd(cost.usd_per_million_tokens, 3) if memory.fits and cost.usd_per_million_tokens else "",
        "yes" if memory.fits else f"no: {plan.reasons[0]}",
    )


def lines_table(lines: Iterable[Line]) -> Any:
    """The arithmetic as a table."""
    rows = [(one.name, one.formula, one.value, one.label, one.source) for one in lines]
    return table(("what", "how", "figure", "label", "source"), rows, right=(2,))


def checks_table(plan: Plan) -> Any:
    """The seed's checklist for this plan."""
    return table(("before production", "state", "how"), [(one.item, one.state, one.detail) for one in checks(plan)])


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = (), title: str = "") -> Any:
    """A rich table; ``right`` names the columns with figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings):
        drawn.add_column(Text(heading), justify="right" if number in right else "left")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def show(*things: Any) -> None:
    """Print texts and tables."""
    from rich.console import Console

    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, highlight=False)
    for thing in things:
        console.print(thing, markup=False, soft_wrap=isinstance(thing, str))


def _brief(plan: Plan) -> str:
    cost = plan.cost
    price = NO_PRICE
    if cost.usd_per_hour is not None:
        price = f"{usd(cost.usd_per_hour)} USD/h {cost.purchase} ({cost.labels['usd_per_hour']})"
    rate = plan.throughput_tokens_per_second
    speed = "" if rate is None else f", {count(rate)} tokens/s ({plan.throughput_label})"
    return f"{machine(plan)}, {layout(plan.layout)}: {price}{speed}"


def _field(name: str, text: str) -> str:
    return f"  {name:<{_LABEL}}{text}"


def _fields(plan: Plan) -> list[tuple[str, str]]:
    memory, cost, labels = plan.memory, plan.cost, plan.memory.labels
    weights = " / ".join(f"{size:.2f}" for size in memory.weights_gib_per_gpu)
    engine = plan.engine
    fields = [
        ("layout", f"{plan.layout}, {engine.engine} {engine.version}, context {count(engine.max_model_len)}"),
        ("weights", f"{weights} GiB a GPU ({labels['weights_gib_per_gpu']})"),
        ("overhead", f"{gib(memory.overhead_gib_per_gpu)} a GPU ({labels['overhead_gib_per_gpu']})"),
        ("KV cache", _cache(plan)),
        ("cost", _cost(plan)),
        *[("batch job", text) for text in batch_job(plan)],
    ]
    if plan.throughput_tokens_per_second is not None:
        rest = _per_million(cost.usd_per_million_tokens) + _latency(plan)
        speed = f"{count(plan.throughput_tokens_per_second)} output tokens/s{rest}"
        fields.append(("throughput", f"{speed} ({'all ' * bool(rest)}{plan.throughput_label})"))
    if figures := illustrative(plan.model, plan.gpu, plan.count):
        fields.append(("the seed", _quoted(figures)))
    if cost.purchase == SPOT:
        use = spot_use()
        fields.append(("spot is for", f"{', '.join(use.on_spot)}; not for {', '.join(use.on_demand)} (the seed)"))
    if memory.seed_rule_gb is not None:
        fields.append(("rule of thumb", _rule(memory)))
    return fields


def _rule(memory: Memory) -> str:
    """The seed's rule with the cache that was asked for."""
    weights, cache = memory.seed_rule_gb or 0.0, memory.seed_rule_kv_gb or 0.0
    total = f"{weights:,.1f} + {cache:,.1f} = {weights + cache:,.1f} GB for the whole model"
    return f"parameters × bytes × 1.15 + KV cache = {total} ({memory.labels['seed_rule_gb']})"


def _cache(plan: Plan) -> str:
    memory, label = plan.memory, plan.memory.labels["kv_tokens"]
    per_token = count(memory.kv_bytes_per_token_per_gpu)
    bytes_label = memory.labels["kv_bytes_per_token_per_gpu"]
    left = f"{gib(memory.kv_gib_per_gpu)} a GPU ({label})"
    return f"{count(memory.kv_tokens)} tokens in {left}, {per_token} B a token on each ({bytes_label})"


def _cost(plan: Plan) -> str:
    cost = plan.cost
    if cost.usd_per_hour is None:
        return f"{NO_PRICE}: see `moestro prices`"
    source = f"{cost.purchase}, {cost.labels['usd_per_hour']}; {cost.source}"
    return f"{usd(cost.usd_per_hour)} USD/h, {usd(cost.usd_per_month)} USD/month ({source})"


def batch_job(plan: Plan) -> Iterator[str]:
    """A daily job bought either way, where both are known."""
    job = plan.cost.batch_job
    if job is None or not job.on_demand_usd_per_day:
        return
    less = "saves" if job.saved_usd_per_day >= 0 else "costs more:"
    saved = f"{usd(abs(job.saved_usd_per_day))} USD a day, {usd(abs(job.saved_usd_per_month))} USD in 30 days"
    both = f"{usd(job.on_demand_usd_per_day)} USD on-demand, {usd(job.spot_usd_per_day)} USD on spot"
    yield f"{job.hours_per_day:g} h a day: {both}; spot {less} {saved} ({plan.cost.labels['batch_job']})"


def _quoted(figures: Illustrative) -> str:
    money = f"{usd(figures.usd_per_million_tokens, 3)} USD per million {figures.purchase}"
    return f"{count(figures.tokens_per_second)} output tokens/s, {money} (illustrative)"


def _per_million(value: float | None) -> str:
    return "" if value is None else f", {usd(value, 3)} USD per million"


def _latency(plan: Plan) -> str:
    if plan.p95_seconds is None or plan.throughput_batch is None:
        return ""
    return f"; {plan.throughput_batch} requests in flight, p95 of a whole answer {plan.p95_seconds:.1f} s"


def _bullets(title: str, texts: Sequence[str]) -> list[str]:
    return [_field(title if number == 0 else "", text) for number, text in enumerate(texts)]


def _rejections(plan: Plan) -> list[str]:
    """The reasons, each once with the layouts that it is about."""
    by_reason: dict[str, list[str]] = {}
    for one in plan.rejected:
        by_reason.setdefault(one.reason, []).append(layout(one.layout))
    shown = [f"{_some(layouts)}: {reason}" for reason, layouts in by_reason.items()][:_SHOWN_REJECTIONS]
    more = len(by_reason) - len(shown)
    return _bullets("not taken", [*shown, *([f"and {more} more reasons: --json shows all"] if more > 0 else [])])


def _some(layouts: Sequence[str]) -> str:
    shown = ", ".join(layouts[:_SHOWN_LAYOUTS])
    return shown if len(layouts) <= _SHOWN_LAYOUTS else f"{shown} and {len(layouts) - _SHOWN_LAYOUTS} more"


def _launch_lines(plan: Plan, model_path: str | None) -> list[str]:
    texts = [command(one.argv, one.env) for one in launches(plan, model_path)]
    if len(texts) == 1:
        return texts
    return [part for rank, text in enumerate(texts) for part in (f"# node {rank} ({LEADER}: node 0's address)", text)]
