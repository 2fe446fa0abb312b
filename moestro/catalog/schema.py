"""The schema of the catalog's files. `check_all` is what the tests run; a changed file is checked there, not at every
start (see moestro.catalog.files)."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moestro.catalog.checklist import Checklist
from moestro.catalog.files import load
from moestro.errors import InvalidInput

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GpuEntry(_Strict):
    """One GPU type; see gpus.yaml for the units."""

    name: Text
    title: Text
    aliases: tuple[Text, ...]
    architecture: Literal["hopper", "ampere", "ada", "blackwell", "blackwell-workstation", "cpu"]
    compute_capability: tuple[int, int]
    memory_gib: NotNegative
    memory_gb: NotNegative
    memory_label: Literal["measured", "derived", "estimated"]
    bandwidth_gb_s: NotNegative
    interconnect: Literal["nvlink", "nvlink-bridge", "pcie", "none"]
    interconnect_gb_s: NotNegative
    tflops: dict[Literal["bf16", "fp8", "fp4"], Positive]
    source: Text
    device: Literal["cuda", "cpu"] = "cuda"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.device == "cuda" and not (0 < self.memory_gib * 2**30 / 1e9 <= self.memory_gb * 1.07):
            raise ValueError(f"memory_gib {self.memory_gib} does not go with memory_gb {self.memory_gb}")
        if self.device == "cuda" and "bf16" not in self.tflops:
            raise ValueError("tflops has no bf16")
        return self


class GpuFile(_Strict):
    """gpus.yaml."""

    date: date
    gpus: tuple[GpuEntry, ...]


class PriceEntry(_Strict):
    """USD an hour of one GPU; null where it is not offered so."""

    gpu: Text
    on_demand: NotNegative | None
    spot: NotNegative | None
    regions: tuple[Text, ...] = ()


class PriceFile(_Strict):
    """prices.yaml, and what `moestro prices --live` writes."""

    source: Text
    date: date
    label: Literal["measured", "illustrative"] = "illustrative"
    prices: tuple[PriceEntry, ...]
    free: tuple[Text, ...]


class CheckpointEntry(_Strict):
    """One checkpoint of a family."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9.\-]+$")]
    repo: Annotated[str, Field(pattern=r"^[\w.\-]+/[\w.\-]+$")]
    quantization: Text | None = None
    aliases: tuple[Text, ...] = ()
    gated: bool = False
    trust_remote_code: bool = False
    max_position_embeddings: Annotated[int, Field(gt=0)] | None = None
    notes: tuple[Text, ...] = ()


class FamilyEntry(_Strict):
    """One architecture and its checkpoints. ``config`` is what config.json says; the planner's parser checks it."""

    family: Text
    title: Text
    source: Text
    config: dict[str, Any]
    checkpoints: Annotated[tuple[CheckpointEntry, ...], Field(min_length=1)]


class ModelFile(_Strict):
    """models.yaml."""

    date: date
    quantizations: dict[str, dict[str, Any]]
    families: tuple[FamilyEntry, ...]

    @model_validator(mode="after")
    def _known_quantizations(self) -> Self:
        used = {one.quantization for family in self.families for one in family.checkpoints if one.quantization}
        if missing := used - set(self.quantizations):
            raise ValueError(f"quantizations has no {', '.join(sorted(missing))}")
        return self


FILES: dict[str, type[BaseModel]] = {
    "gpus.yaml": GpuFile,
    "prices.yaml": PriceFile,
    "models.yaml": ModelFile,
    "checklist.yaml": Checklist,
}


def check(name: str, raw: object, where: str | None = None) -> BaseModel:
    """The parsed content of a catalog file, checked.

    Args:
        where: what the file is called in the message, where it is not the catalog's own.

    Raises:
        InvalidInput: the first mistake, with its place.
    """
    try:
        return FILES[name].model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"{part}." for part in first["loc"]).rstrip(".")
        raise InvalidInput(": ".join(part for part in (where or name, place, first["msg"]) if part)) from None


def check_all() -> None:
    """Check every file of the catalog.

    Raises:
        InvalidInput: the first mistake.
    """
    for name in FILES:
        check(name, load(name))
