"""Every layout of a number of GPUs, and which one is best by the seed's decision matrix and its best conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from moestro.planning.gpu import GpuSpec, Site
from moestro.planning.model import AttentionKind, ModelSpec
from moestro.planning.plan import Layout, Memory
from moestro.planning.rules import layout_violation, placement_violation


@dataclass(frozen=True, slots=True)
class Wanted:
    """An exact layout, or parts of one; None leaves the choice to the planner."""

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: bool | None = None
    dcp: int | None = None
    nodes: int | None = None

    def allows(self, layout: Layout) -> bool:
        """Whether a layout is what was asked for."""
        pairs = (
            (self.tp, layout.tp),
            (self.pp, layout.pp),
            (self.dp, layout.dp),
            (self.ep, layout.ep),
            (self.dcp, layout.dcp),
            (self.nodes, layout.nodes),
        )
        return all(asked is None or asked == given for asked, given in pairs)


ANY = Wanted()


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One row of the seed's decision matrix."""

    family: str
    gpu_prefixes: tuple[str, ...]
    count: int
    tp: int
    pp: int
    ep: bool
    strategy: str

    def names(self, model: ModelSpec, gpu: GpuSpec, count: int) -> bool:
        """Whether the row is about this model on this many of this GPU."""
        fits = not self.gpu_prefixes or gpu.name.startswith(self.gpu_prefixes)
        return self.family == model.family and self.count == count and fits

    def is_about(self, layout: Layout) -> bool:
        """Whether a layout is the row's."""
        return (layout.tp, layout.pp, layout.ep) == (self.tp, self.pp, self.ep)


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


def row_for(rows: Sequence[MatrixRow], model: ModelSpec, gpu: GpuSpec, count: int) -> MatrixRow | None:
    """The row about this model on this many of this GPU, if there is one."""
    return next((one for one in rows if one.names(model, gpu, count)), None)


@lru_cache(maxsize=16384)
def candidates(
    model: ModelSpec, count: int, nodes: int, ep: bool | None = None, dcp: int | None = None
) -> tuple[tuple[Layout, str | None], ...]:
    """Every (TP, PP, DP, EP, DCP) of ``count`` GPUs over ``nodes``, each with why the engine refuses it, or None.

    An ``ep`` or ``dcp`` that is asked for is among them even where it makes no sense, so that the reason is told.
    """
    return tuple((layout, layout_violation(model, layout)) for layout in _spreads(model, count, nodes, ep, dcp))


def _spreads(model: ModelSpec, count: int, nodes: int, ep: bool | None, dcp: int | None) -> Iterator[Layout]:
    for tp in divisors(count):
        for pp in divisors(count // tp):
            dp = count // tp // pp
            switches = (False, True) if model.experts and tp * dp > 1 else (False,)
            for switch in switches if ep is None else (ep,):
                for size in _context_sizes(model, tp) if dcp is None else (dcp,):
                    yield Layout(tp, pp, dp, switch, size, nodes)


def _context_sizes(model: ModelSpec, tp: int) -> Sequence[int]:
    heads = model.attention
    if heads.kind in (AttentionKind.DSA, AttentionKind.SLIDING) or (not heads.mla and tp <= heads.kv_heads):
        return (1,)
    return divisors(tp if heads.mla else tp // heads.kv_heads)


def nodes_for(site: Site, count: int) -> int:
    """The fewest nodes that ``count`` GPUs lie on."""
    return max(1, -(-count // site.gpus_per_node))


@lru_cache(maxsize=32768)
def in_order(
    model: ModelSpec, site: Site, count: int, wanted: Wanted, row: MatrixRow | None
) -> tuple[tuple[Layout, str | None], ...]:
    """The layouts that ``wanted`` allows, by preference, each with what the engine or the machines have against it."""
    found = layouts_for(model, site, count, wanted)
    return tuple(sorted(found, key=lambda one: preference(model, site, one[0], row)))


def layouts_for(model: ModelSpec, site: Site, count: int, wanted: Wanted = ANY) -> Iterator[tuple[Layout, str | None]]:
    """The candidates that ``wanted`` allows, with the reason against those that cannot run on these machines."""
    nodes = wanted.nodes or nodes_for(site, count)
    for layout, violation in candidates(model, count, nodes, wanted.ep, wanted.dcp):
        if wanted.allows(layout):
            yield layout, violation or placement_violation(site, layout)


def preference(model: ModelSpec, site: Site, layout: Layout, row: MatrixRow | None) -> tuple[int, ...]:
    """The order among layouts that run and hold the load: smaller is better.

    First a row of the decision matrix; then no tensor parallelism across nodes, pipeline stages only across nodes,
    no context parallelism, expert parallelism where NVLink joins the GPUs and not over PCIe, few replicas of the
    attention, wide TP.
    """
    matrix = row is None or not row.is_about(layout)
    spans = layout.tp > max(1, layout.gpus // layout.nodes)
    pipeline = abs(layout.pp - layout.nodes)
    ep_wanted = wants_expert_parallel(model, site, layout)
    return (matrix, spans, pipeline, layout.dcp > 1, layout.ep != ep_wanted, layout.dp, -layout.tp, layout.dcp)


def wants_expert_parallel(model: ModelSpec, site: Site, layout: Layout) -> bool:
    """The seed's best conditions: NVLink and 2 to 8 GPUs; over nodes tensor and pipeline parallelism instead."""
    in_stage = layout.tp * layout.dp > 1
    over_nodes = layout.nodes > 1 and layout.dp == 1
    return model.experts is not None and site.nvlink and in_stage and not over_nodes


def shortfall(memory: Memory, tokens: int) -> str:
    """Why a layout does not hold the load."""
    weights = max(memory.weights_gib_per_gpu)
    left = memory.usable_gib_per_gpu - weights - memory.overhead_gib_per_gpu
    if left <= 0:
        return (
            f"weights {weights:.1f} GiB and {memory.overhead_gib_per_gpu:.1f} GiB overhead a GPU "
            f"exceed the {memory.usable_gib_per_gpu:.1f} GiB that the engine may use"
        )
    return f"the {left:.1f} GiB left a GPU hold {memory.kv_tokens:,} KV tokens and {tokens:,} are needed"
