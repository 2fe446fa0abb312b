"""Models, GPUs, prices and the seed's checklist as data, and where models come from."""

from moestro.catalog.gpus import gpu as load_gpu
from moestro.catalog.gpus import gpus
from moestro.catalog.matrix import decision_matrix
from moestro.catalog.plans import plan_catalog
from moestro.catalog.prices import prices as load_prices
from moestro.catalog.prices import read_prices
from moestro.catalog.sources import load_model

__all__ = ["decision_matrix", "gpus", "load_gpu", "load_model", "load_prices", "plan_catalog", "read_prices"]
