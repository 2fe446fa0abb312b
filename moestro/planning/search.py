"""The cheapest plans for a model over GPU types, counts and ways to buy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from moestro.errors import InvalidInput, NothingFits
from moestro.planning.cost import ON_DEMAND, SPOT, Prices
from moestro.planning.counts import counts_for
from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import MatrixRow
from moestro.planning.model import ModelSpec
from moestro.planning.plan import Plan
from moestro.planning.planner import plan
from moestro.planning.request import Request
from moestro.planning.throughput import Measured

_UNPRICED = float("inf")


@dataclass(frozen=True, slots=True)
class Constraints:
    """What may be rented. Prices are USD an hour of the whole replica.

    Attributes:
        unpriced: whether a plan without a known price may stand where none of a known price is within the budget;
            for those who check the budget again when they order.
    """

    gpus: tuple[GpuSpec, ...]
    regions: tuple[str, ...] = ()
    spot: bool = False
    max_nodes: int = 4
    max_usd_per_hour: float | None = None
    unpriced: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What a replica must give: output tokens a second, and seconds to a whole answer for 95 of 100 requests."""

    tokens_per_second: float | None = None
    p95_seconds: float | None = None

    def met_by(self, found: Plan) -> bool:
        """Whether the plan's figures reach the target; a plan without figures reaches none."""
        enough = self.tokens_per_second is None or (found.throughput_tokens_per_second or 0) >= self.tokens_per_second
        return enough and (self.p95_seconds is None or (found.p95_seconds or _UNPRICED) <= self.p95_seconds)

    def nearest(self, plans: Sequence[Plan]) -> Plan:
        """The fastest of those that answer in time; where none does, the one that answers soonest."""
        in_time = [one for one in plans if replace(self, tokens_per_second=None).met_by(one)]
        if in_time:
            return max(in_time, key=lambda one: one.throughput_tokens_per_second or 0)
        return min(plans, key=lambda one: one.p95_seconds or _UNPRICED)


ANYTHING = Target()


def search(
    models: Sequence[ModelSpec],
    request: Request,
    constraints: Constraints,
    prices: Prices,
    matrix: Sequence[MatrixRow] = (),
    target: Target = ANYTHING,
    measured: Sequence[Measured] = (),
    limit: int = 10,
) -> list[Plan]:
    """The cheapest plans that hold the load and reach the target, cheapest first; plans without a price come last.

    Args:
        models: the checkpoints that may serve (one model, or a family in several precisions).
        request: the load and the engine settings; its ``count`` and ``purchase`` are searched where it leaves them.

    Raises:
        NothingFits: nothing holds the load; the line says what is short.
        InvalidInput: nothing reaches the target or stays in the budget; the line says what would.
    """
    _check(constraints, target)
    found = [one for model in models for one in _plans(model, request, constraints, prices, matrix, measured)]
    name = models[0].name if len(models) == 1 else models[0].family
    fitting = [one for one in found if one.memory.fits]
    if not fitting:
        raise NothingFits(_nothing_fits(name, found, constraints))
    reaching = [one for one in fitting if target.met_by(one)]
    if not reaching:
        raise InvalidInput(f"no plan of {name} reaches the target; the fastest is {_line(target.nearest(fitting))}")
    reaching.sort(key=_order)
    affordable = [one for one in reaching if _within(one, constraints.max_usd_per_hour)]
    if not affordable and constraints.unpriced:
        affordable = [one for one in reaching if one.cost.usd_per_hour is None]
    if not affordable:
        raise InvalidInput(
            f"no plan of {name} is known to cost at most ${constraints.max_usd_per_hour:g}/h; "
            f"the cheapest is {_line(reaching[0])}"
        )
    best_plans = _best_of_each(affordable)[:limit]
    return [_in_full(one, models, request, constraints, prices, matrix, measured) for one in best_plans]


def _check(constraints: Constraints, target: Target) -> None:
    limits = {
        "max_price": constraints.max_usd_per_hour,
        "min_tokens_per_second": target.tokens_per_second,
        "max_p95_seconds": target.p95_seconds,
    }
    for name, value in limits.items():
        if value is not None and not 0 < value < _UNPRICED:
            raise InvalidInput(f"{name} {value} makes no sense: give a number above 0")


def _plans(
    model: ModelSpec,
    request: Request,
    constraints: Constraints,
    prices: Prices,
    matrix: Sequence[MatrixRow],
    measured: Sequence[Measured],
) -> Iterator[Plan]:
    for gpu in constraints.gpus:
        if not _in_region(gpu, constraints, prices):
            continue
        for count in counts_for(gpu, request, constraints.max_nodes):
            asked = replace(request, count=count)
            found = plan(model, gpu, asked, prices, matrix, explain=False, measured=measured)
            yield found
            if constraints.spot and found.memory.fits:
                yield plan(model, gpu, replace(asked, purchase=SPOT), prices, matrix, False, measured)


def _in_region(gpu: GpuSpec, constraints: Constraints, prices: Prices) -> bool:
    price = prices.get(gpu.name)
    if not constraints.regions or price is None or not price.regions:
        return True
    return bool(set(constraints.regions) & set(price.regions))


def _within(found: Plan, budget: float | None) -> bool:
    return budget is None or (found.cost.usd_per_hour is not None and found.cost.usd_per_hour <= budget)


def _order(found: Plan) -> tuple[float, bool, int]:
    price = found.cost.usd_per_hour
    return (_UNPRICED if price is None else price, found.cost.purchase == SPOT, found.count)


def _best_of_each(plans: Sequence[Plan]) -> list[Plan]:
    """The first plan of each model, GPU, count and way to buy."""
    unique = {(one.model, one.gpu, one.count, one.cost.purchase): one for one in reversed(plans)}
    return sorted(unique.values(), key=_order)


def _in_full(
    found: Plan,
    models: Sequence[ModelSpec],
    request: Request,
    constraints: Constraints,
    prices: Prices,
    matrix: Sequence[MatrixRow],
    measured: Sequence[Measured],
) -> Plan:
    model = next(one for one in models if one.identifier() == found.model)
    gpu = next(one for one in constraints.gpus if one.name == found.gpu)
    asked = replace(request, count=found.count, purchase=found.cost.purchase)
    return plan(model, gpu, asked, prices, matrix, measured=measured)


def _nothing_fits(name: str, found: Sequence[Plan], constraints: Constraints) -> str:
    if not found:
        return f"no GPU type is left to search for {name}: allow more types or regions"
    tried = ", ".join(gpu.name for gpu in constraints.gpus)
    return f"{name} fits on none of {tried} with up to {constraints.max_nodes} nodes: {_short(found[-1])}"


def _short(found: Plan) -> str:
    return f"on {found.count}x {found.gpu} {found.reasons[0]}"


def _line(found: Plan) -> str:
    price = found.cost.usd_per_hour
    money = "at an unknown price" if price is None else f"at ${price:.2f}/h {found.cost.purchase or ON_DEMAND}"
    rate = found.throughput_tokens_per_second
    answers = f", p95 {found.p95_seconds:.1f} s" if found.p95_seconds else ""
    speed = f", {rate:.0f} tokens/s{answers} ({found.throughput_label})" if rate else ""
    return f"{found.count}x {found.gpu} {money}{speed}"
