"""What ``moestro plan`` does: ask the planner, say the answer, and turn "does not fit" into exit code 3."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model, load_prices, read_prices
from moestro.commands.options import AUTO, PlanOptions
from moestro.errors import InvalidInput, NothingFits
from moestro.planning.cost import SPOT, Prices
from moestro.planning.gpu import CPU, GpuSpec
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Label, Plan
from moestro.planning.planner import Request, Wanted, plan
from moestro.planning.search import Constraints, Target, search
from moestro.planning.throughput import Measured
from moestro.serving.engines import with_warnings

FITS, DOES_NOT_FIT = 0, 3
_SHOWN = 5  # plans of a search


@dataclass(frozen=True, slots=True)
class Answer:
    """The plan that was chosen, and the others that were asked to be seen beside it.

    Attributes:
        next: the plans that a search would take after it, cheapest first.
    """

    model: ModelSpec
    chosen: Plan
    next: tuple[Plan, ...] = ()
    others: tuple[Plan, ...] = ()
    spot: tuple[Plan, ...] = ()


def run(options: PlanOptions) -> int:
    """Answer in the form that was asked for.

    Raises:
        InvalidInput: a name, a value or a combination that makes no sense.
    """
    if options.seed_tables:
        return _seed_tables(options.json)
    if options.pin is not None:
        from moestro.commands.pinning import from_stack

        options = from_stack(options, options.pin)
    answer = answer_to(options)
    _say(answer, options)
    fits = answer.chosen.memory.fits
    if options.pin is not None and fits:
        from moestro.commands.pinning import write_choice

        _tell(write_choice(options.pin, answer.chosen), options)
    return FITS if fits else DOES_NOT_FIT


def answer_to(options: PlanOptions) -> Answer:
    """Ask the planner.

    Raises:
        InvalidInput: see ``run``.
    """
    if options.model is None:
        raise InvalidInput("name a model: a catalog name (`moestro models`), a repository id, or a directory")
    model, request = load_model(options.model), request_of(options)
    prices = load_prices() if options.prices is None else read_prices(options.prices)
    desk = _Desk(model, prices, _measured(options.measured))
    first, *rest = (
        desk.cheapest(request, options) if options.searching else [desk.plan(load_gpu(options.gpus[0]), request)]
    )
    chosen, after = _with_regions(first, options.regions, prices), tuple(rest)
    if not options.compare and options.html is None:
        return Answer(model, chosen, after)
    others = tuple(desk.on(gpu, request) for gpu in _compared(options))
    drawn = [chosen, *(one for one in others if one.gpu != chosen.gpu)]
    return Answer(
        model, chosen, after, others, tuple(desk.on_spot(one, request) for one in drawn if desk.has_spot(one))
    )


def _with_regions(chosen: Plan, regions: tuple[str, ...], prices: Prices) -> Plan:
    """The plan, saying so where nothing is known of the regions that were asked for."""
    price = prices.get(chosen.gpu)
    if not regions or (price is not None and price.regions):
        return chosen
    unknown = f"whether {', '.join(regions)} has {chosen.gpu} is not known here: `moestro prices --live` asks the cloud"
    return replace(chosen, warnings=(*chosen.warnings, unknown))


def request_of(options: PlanOptions) -> Request:
    """The planner's request."""
    return Request(
        count=options.count,
        context=options.context,
        concurrency=options.concurrency,
        kv_headroom=options.kv_headroom,
        wanted=Wanted(options.tp, options.pp, options.dp, options.ep, options.dcp, options.nodes),
        engine=options.engine,
        engine_version=options.engine_version,
        gpu_memory_utilization=options.gpu_memory_utilization,
        kv_cache_dtype=options.kv_cache_dtype,
        max_num_batched_tokens=options.max_num_batched_tokens,
        max_num_seqs=options.max_num_seqs,
        enforce_eager=options.enforce_eager,
        purchase=SPOT if options.spot and not options.searching else Request().purchase,
        max_nodes=options.most_nodes,
        p95_seconds=options.max_p95_seconds,
        hours_per_day=Request().hours_per_day if options.hours_per_day is None else options.hours_per_day,
    )


@dataclass(frozen=True, slots=True)
class _Desk:
    """The planner with everything at hand that all questions about one model share."""

    model: ModelSpec
    prices: Prices
    measured: tuple[Measured, ...]

    def plan(self, gpu: GpuSpec, request: Request, explain: bool = True) -> Plan:
        return with_warnings(plan(self.model, gpu, request, self.prices, decision_matrix(), explain, self.measured))

    def cheapest(self, request: Request, options: PlanOptions) -> list[Plan]:
        """Cheapest first. For a program that reads JSON there is a plan even where none fits."""
        try:
            return self._searched(request, options)
        except NothingFits as error:
            types = _searched(options)
            if not options.json or not types:
                raise
            return [replace(self.plan(types[-1], request), reasons=(str(error),))]

    def _searched(self, request: Request, options: PlanOptions) -> list[Plan]:
        limits = Constraints(
            _searched(options),
            options.regions,
            options.spot,
            options.most_nodes,
            options.max_price,
            options.unpriced,
        )
        target = Target(options.min_tokens_per_second, options.max_p95_seconds)
        models, matrix = [self.model], decision_matrix()
        found = search(models, request, limits, self.prices, matrix, target, self.measured, limit=_SHOWN)
        return [with_warnings(one) for one in found]

    def on(self, gpu: GpuSpec, request: Request) -> Plan:
        """A plan on another GPU: the same load, with the fewest GPUs of that type."""
        return self.plan(gpu, replace(request, count=None, wanted=Wanted(ep=request.wanted.ep)))

    def has_spot(self, one: Plan) -> bool:
        price = self.prices.get(one.gpu)
        return one.memory.fits and one.cost.purchase != SPOT and price is not None and bool(price.spot)

    def on_spot(self, one: Plan, request: Request) -> Plan:
        """The same plan, bought on the spot market."""
        layout = one.layout
        wanted = Wanted(layout.tp, layout.pp, layout.dp, layout.ep, layout.dcp, layout.nodes)
        asked = replace(request, count=one.count, wanted=wanted, purchase=SPOT)
        return self.plan(load_gpu(one.gpu), asked, explain=False)


def _measured(path: Path | None) -> tuple[Measured, ...]:
    if path is None:
        return ()
    from moestro.catalog.measured import load_measured

    return load_measured(path)


def _searched(options: PlanOptions) -> tuple[GpuSpec, ...]:
    """The GPU types that were named, or all of the catalog but the sandbox's CPU."""
    named = tuple(load_gpu(name) for name in options.gpus if name != AUTO)
    return named or _every_type()


def _compared(options: PlanOptions) -> tuple[GpuSpec, ...]:
    """The GPU types to draw side by side: those that were named where there are several."""
    named = _searched(options)
    return named if len(named) > 1 else _every_type()


def _every_type() -> tuple[GpuSpec, ...]:
    return tuple(gpu for gpu in gpus().values() if gpu.name != CPU)


def _say(answer: Answer, options: PlanOptions) -> None:
    path = model_path(options, answer)
    if options.html is not None:
        _tell(_write_html(answer, options.html, path), options)
    if options.json:
        _print_json(answer, path)
    elif options.compare:
        _print_comparison(answer)
    elif options.explain:
        _print_arithmetic(answer, path)
    elif options.html is None:
        from moestro.report.text import plan_text

        print(plan_text(answer.chosen, path, answer.next))


def _tell(line: str, options: PlanOptions) -> None:
    """What was done beside the answer; where the answer is JSON it must be alone on stdout."""
    print(line, file=sys.stderr if options.json else sys.stdout)


def _print_json(answer: Answer, path: str) -> None:
    import json

    from moestro.report.data import answer_data

    others = answer.others
    print(json.dumps(answer_data(answer.chosen, others, path, answer.next), indent=2))


def model_path(options: PlanOptions, answer: Answer) -> str:
    """What the engine would be pointed at: the directory that was given, or the repository."""
    directory = Path(options.model or "")
    return answer.chosen.model if answer.model.repo else str(directory.resolve())


def _print_comparison(answer: Answer) -> None:
    from moestro.report.text import PLAN_HEADINGS, plan_row, show, table

    plans = answer.others or (answer.chosen,)
    order = sorted(plans, key=lambda one: (not one.memory.fits, one.cost.usd_per_hour is None, one.cost.usd_per_hour))
    rows = [plan_row(one) for one in order]
    show(table(PLAN_HEADINGS, rows, right=(2, 3, 4, 5, 6, 7), title=f"{answer.chosen.model}, fewest GPUs of each type"))
    sources = sorted({one.cost.source for one in plans if one.cost.usd_per_hour is not None})
    rates = "measured where --measured has it, else " if any(map(_is_measured, plans)) else ""
    show(f"* {rates}estimated by a roofline. Weights are derived, KV tokens estimated.")
    show("Prices: " + ("; ".join(sources) or "none known"))


def _is_measured(one: Plan) -> bool:
    return one.throughput_label is Label.MEASURED


def _print_arithmetic(answer: Answer, path: str) -> None:
    from moestro.report.explain import explain
    from moestro.report.text import checks_table, lines_table, plan_text, show

    chosen = answer.chosen
    show(lines_table(explain(chosen, answer.model)), checks_table(chosen), plan_text(chosen, path, answer.next))


def _write_html(answer: Answer, path: Path, model: str) -> str:
    from moestro.report.html import render
    from moestro.report.page import page

    text = render(page(answer.chosen, answer.model, answer.others, answer.spot, model))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"report {path} cannot be written: {error.strerror}") from None
    return f"wrote {path}"


def _seed_tables(as_json: bool) -> int:
    from moestro.report.seed import tables

    if as_json:
        import json

        print(json.dumps([asdict(one) for one in tables()], indent=2))
        return FITS
    from moestro.report.text import show, table

    for one in tables():
        show(table(one.headings, one.rows, title=one.title), *one.notes, "")
    return FITS
