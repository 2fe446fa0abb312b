"""The seed's decision matrix, from checklist.yaml."""

from functools import cache

from moestro.catalog.files import load
from moestro.planning.layout import MatrixRow


@cache
def decision_matrix() -> tuple[MatrixRow, ...]:
    """Its rows as the planner takes them: one a model family."""
    return tuple(
        MatrixRow(family, tuple(row["gpus"]), row["count"], row["tp"], row["pp"], row["ep"], row["strategy"])
        for row in load("checklist.yaml")["decision_matrix"]["rows"]
        for family in row["families"]
    )
