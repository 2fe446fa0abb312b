"""The planner over the catalog, by names."""

from moestro.catalog.gpus import gpu as load_gpu
from moestro.catalog.matrix import decision_matrix
from moestro.catalog.prices import prices as load_prices
from moestro.catalog.sources import load_model
from moestro.planning.cost import Prices
from moestro.planning.plan import Plan
from moestro.planning.planner import Request, plan

_DEFAULT = Request()


def plan_catalog(model: str, gpu: str, request: Request = _DEFAULT, prices: Prices | None = None) -> Plan:
    """A plan for a model (catalog name, repository or directory) on a GPU of the catalog.

    Raises:
        InvalidInput: an unknown name, or a request that makes no sense.
    """
    listed = load_prices() if prices is None else prices
    return plan(load_model(model), load_gpu(gpu), request, listed, decision_matrix())
