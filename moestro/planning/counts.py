"""How many GPUs a replica may have where nobody says: what is rented, a part of one machine or whole machines."""

from moestro.planning.gpu import GpuSpec
from moestro.planning.layout import Wanted
from moestro.planning.request import Request

RENTED = (1, 2, 4, 8)  # GPUs of one machine, as clouds offer them


def counts_for(gpu: GpuSpec, request: Request, max_nodes: int | None = None) -> tuple[int, ...]:
    """The counts to look at, ascending: the one that was asked for, else those that can be rented.

    Sizes of a layout that are asked for bring their product in, whether machines of that size are usual or not.

    Args:
        max_nodes: machines at most; the request's where it is None.
    """
    wanted = request.wanted
    if request.count is not None:
        return (request.count,)
    if wanted.tp and wanted.pp and wanted.dp:
        return (wanted.tp * wanted.pp * wanted.dp,)
    step = (wanted.tp or 1) * (wanted.pp or 1) * (wanted.dp or 1)
    if gpu.device == "cpu":
        return (step,)
    found = {count for count in _rented(gpu, wanted, max_nodes or request.max_nodes) if count % step == 0}
    if step > 1 and step % (wanted.nodes or 1) == 0:
        found.add(step)
    return tuple(sorted(found)) or (step,)


def _rented(gpu: GpuSpec, wanted: Wanted, max_nodes: int) -> list[int]:
    if wanted.nodes and wanted.nodes > 1:
        return [gpu.gpus_per_node * wanted.nodes]
    single = [count for count in RENTED if count <= gpu.gpus_per_node]
    return [*single, *(gpu.gpus_per_node * nodes for nodes in range(2, max_nodes + 1) if not wanted.nodes)]
