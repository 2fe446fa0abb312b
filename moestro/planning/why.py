"""Why a layout is the one that was chosen, and why another that would run is not: one line each."""

from collections.abc import Callable, Iterator, Sequence

from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import MatrixRow, Wanted
from moestro.planning.model import ModelSpec
from moestro.planning.options import Option
from moestro.planning.plan import Layout


def why(
    options: Sequence[Option], model: ModelSpec, gpu: GpuSpec, wanted: Wanted, row: MatrixRow | None
) -> Iterator[str]:
    """The reasons for the first of ``options``, each kind of parallelism on its own."""
    layout, memory = options[0].layout, options[0].memory
    yield (
        f"{layout}: weights {max(memory.weights_gib_per_gpu):.1f} + overhead {memory.overhead_gib_per_gpu:.1f} of "
        f"{memory.usable_gib_per_gpu:.1f} usable GiB a GPU leave {memory.kv_tokens:,} KV tokens"
    )
    if model.experts and layout.tp * layout.dp > 1:
        yield _experts(options, layout, gpu, wanted, row)
    if layout.pp > 1:
        yield f"{layout.pp} pipeline stages: {_stages(options, layout, wanted, row)}"
    if layout.dp > 1:
        yield f"{layout.dp} attention replicas: {_replicas(options, layout, wanted)}"
    if layout.dcp > 1:
        against = None if wanted.dcp else _against(options, lambda one: one.dcp == 1 and one.pp == layout.pp)
        yield f"context parallel decoding over {layout.dcp} ranks: {against or 'as asked'}"


def _experts(options: Sequence[Option], layout: Layout, gpu: GpuSpec, wanted: Wanted, row: MatrixRow | None) -> str:
    name = "expert parallel" if layout.ep else "experts cut by tensor parallelism"
    if wanted.ep is not None:
        return f"{name}, as asked"
    if row is not None and row.is_about(layout):
        caution = "; over PCIe compare it with --no-ep before production" if layout.ep and not gpu.nvlink else ""
        return f"{name}: the seed's decision matrix has '{row.strategy}' for this model on these GPUs{caution}"
    against = _against(options, lambda one: (one.tp, one.dp, one.pp, one.ep) == _switched(layout))
    if against:
        return f"{name}: {against}"
    if layout.ep and _inside_node(layout) and gpu.nvlink:
        return f"{name}: NVLink carries expert dispatch, each GPU computes whole experts"
    if layout.ep:
        return f"{name}: nothing that comes before it holds the load"
    if not gpu.nvlink:
        return f"{name}: over PCIe expert dispatch is slow"
    return f"{name}: the seed's conditions for expert parallelism are 2 to 8 GPUs, here are {layout.gpus}"


def _switched(layout: Layout) -> tuple[int, int, int, bool]:
    return layout.tp, layout.dp, layout.pp, not layout.ep


def _inside_node(layout: Layout) -> bool:
    """Whether the GPUs that exchange tokens for experts are of one machine."""
    return layout.tp * layout.dp <= max(1, layout.gpus // layout.nodes)


def _stages(options: Sequence[Option], layout: Layout, wanted: Wanted, row: MatrixRow | None) -> str:
    if wanted.pp is not None:
        return "as asked"
    if row is not None and row.is_about(layout):
        return f"the seed's decision matrix has '{row.strategy}' for this model on these GPUs"
    if layout.pp == layout.nodes:
        return "each node is a stage, so that tensor parallelism stays inside nodes"
    against = _against(options, lambda one: one.pp == layout.nodes and one.tp <= layout.gpus // layout.nodes)
    return against or "the sizes that were asked for leave no other way"


def _replicas(options: Sequence[Option], layout: Layout, wanted: Wanted) -> str:
    if wanted.dp is not None:
        return "as asked"
    against = _against(options, lambda one: (one.dp, one.pp, one.dcp) == (1, layout.pp, layout.dcp))
    return against or "the sizes that were asked for leave no other way"


def _against(options: Sequence[Option], about: Callable[[Layout], bool]) -> str | None:
    """What is against the layout that would be the obvious one, with its name."""
    found = next((one for one in options[1:] if one.against and about(one.layout)), None)
    return None if found is None else f"with {found.layout} {found.against}"


def why_not(layout: Layout, chosen: Layout, gpu: GpuSpec, row: MatrixRow | None) -> str:
    """Why a layout that would run is not the chosen one."""
    if layout.tp > max(1, layout.gpus // layout.nodes) >= chosen.tp:
        return "runs, but its tensor parallelism crosses nodes: two all-reduces a layer over the network"
    if layout.pp > chosen.pp:
        return f"runs, but {layout.pp} pipeline stages wait for each other; stages are for nodes or when memory binds"
    if layout.dcp > chosen.dcp:
        return "runs, but the cache holds the load with less context parallel decoding and its communication"
    if layout.ep != chosen.ep and (reason := _why_not_experts(layout, chosen, gpu, row)):
        return reason
    if layout.dp > chosen.dp:
        return f"runs, but holds attention {layout.dp} times and gives each rank its own, smaller cache"
    if row is not None and row.is_about(chosen):
        return f"runs, but the seed's decision matrix has '{row.strategy}' for this model on these GPUs"
    return f"runs, but {chosen} comes first: fewer pipeline stages, wider tensor parallelism"


def _why_not_experts(layout: Layout, chosen: Layout, gpu: GpuSpec, row: MatrixRow | None) -> str | None:
    if row is not None and row.is_about(chosen):
        return f"runs, but the seed's decision matrix has '{row.strategy}' for this model on these GPUs"
    if layout.ep and not gpu.nvlink:
        return "runs, but expert dispatch over PCIe costs more than it gains; benchmark before choosing it"
    if layout.ep and not _inside_node(layout):
        return "runs, but over nodes tensor and pipeline parallelism move less than expert dispatch"
    if layout.ep:
        return f"runs, but the seed's conditions for expert parallelism are 2 to 8 GPUs, here are {layout.gpus}"
    if gpu.nvlink and _inside_node(chosen):
        return "runs, but NVLink carries expert dispatch and whole experts compute better than slices"
    return None
