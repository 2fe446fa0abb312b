"""The catalog's files, its names, and where models come from."""

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from moestro.catalog import decision_matrix, gpus, load_gpu, load_model, load_prices, models
from moestro.catalog.checklist import checklist
from moestro.catalog.files import load
from moestro.catalog.measured import load_measured
from moestro.catalog.models import entries, family
from moestro.catalog.schema import check, check_all
from moestro.catalog.seed import checklist_items, illustrative, spot_use
from moestro.errors import InvalidInput
from moestro.planning.fields import UnknownArchitecture
from tests.unit.catalog.safetensors_files import write_safetensors
from tests.unit.planning.models import TINY_CONFIG


class TestFiles:
    def test_all_keep_their_schema(self) -> None:
        check_all()

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("gpus.yaml", {"gpus": [{"name": "X"}]}, "gpus.yaml: gpus.0.title: Field required"),
            ("prices.yaml", {"date": "soon"}, "prices.yaml: date"),
            ("models.yaml", {"quantizations": {}}, "quantizations has no"),
            ("checklist.yaml", {"extra": 1}, "checklist.yaml: extra"),
        ],
    )
    def test_mistakes_are_named(self, name: str, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            check(name, load(name) | change)

    def test_every_price_and_matrix_row_names_something_known(self) -> None:
        assert set(load_prices()) <= set(gpus())
        families = {entry.family for entry in entries().values()}
        assert {row.family for row in decision_matrix()} <= families
        seed = checklist()
        assert {row.family for row in (*seed.weights, *seed.configurations, *seed.models)} <= families
        assert {row.checkpoint for row in (*seed.models, *seed.costs)} <= set(entries())
        sets = [one for row in seed.configurations for one in (row.minimum, row.recommended, row.optimal)]
        assert {one.gpu for one in (*seed.weights, *seed.costs, *seed.pricing, *sets)} <= set(gpus())

    def test_prices_are_the_seeds(self) -> None:
        for row in checklist().pricing:
            price = load_prices()[row.gpu]
            assert (price.on_demand, price.spot, price.date) == (row.on_demand, row.spot, "2026-04-02")

    def test_illustrative_figures(self) -> None:
        row = illustrative("deepseek-v3.2", "B200_SXM6", 8)
        assert row is not None
        assert row.tokens_per_second == 8000
        assert illustrative("deepseek-v3.2", "H200_SXM5", 8) is None
        assert illustrative("deepseek-ai/DeepSeek-V3.2-Speciale", "B200_SXM6", 8) == row
        assert illustrative("./somewhere", "B200_SXM6", 8) is None

    def test_what_is_read_without_the_schema_is_what_the_schema_reads(self) -> None:
        assert spot_use() == (checklist().spot.use_spot_for, checklist().spot.use_on_demand_for)
        assert [one._asdict() for one in checklist_items()] == [one.model_dump() for one in checklist().checklist]

    def test_the_seeds_models_and_precisions_are_there(self) -> None:
        precisions = {name: {model.precision for model in family(name)} for name in ("mixtral-8x22b", "kimi-k2")}
        assert precisions == {"mixtral-8x22b": {"BF16", "FP8", "INT4"}, "kimi-k2": {"FP8", "INT4"}}
        assert len(gpus()) == 11


class TestNames:
    @pytest.mark.parametrize("name", ["H200_SXM5", "h200", "H200-sxm5", "NVIDIA H200 SXM5 141GB"])
    def test_gpu_in_any_spelling(self, name: str) -> None:
        assert load_gpu(name).name == "H200_SXM5"

    def test_nearest_gpu(self) -> None:
        with pytest.raises(InvalidInput, match="GPU 'H20O_SXM5' is not in the catalog; did you mean 'H200_SXM5'"):
            load_gpu("H20O_SXM5")

    def test_far_from_any_gpu(self) -> None:
        with pytest.raises(InvalidInput, match="known are H100_PCIE"):
            load_gpu("zzz")

    @pytest.mark.parametrize("name", ["deepseek-v3.2", "DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3.2", "dsv3.2"])
    def test_model_by_name_alias_or_repository(self, name: str) -> None:
        assert load_model(name).repo == "deepseek-ai/DeepSeek-V3.2"

    def test_nearest_model(self) -> None:
        with pytest.raises(InvalidInput, match="did you mean 'mixtral-8x7b'"):
            load_model("mixtrel-8x7b")

    def test_far_from_any_model(self) -> None:
        with pytest.raises(InvalidInput, match="`moestro models` lists"):
            load_model("zzzzzzzzzzzz")

    def test_no_name_stands_for_two_things(self) -> None:
        names = [n.lower() for e in entries().values() for n in (e.name, e.repo, *e.raw.get("aliases", ()))]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("family", "precisions"),
    [
        ("deepseek-v3.2", {"FP8", "INT4", "NVFP4"}),
        ("deepseek-v3", {"FP8", "NVFP4"}),
        ("kimi-k2", {"FP8", "INT4"}),
        ("kimi-k2-thinking", {"INT4", "NVFP4"}),
        ("llama-4-maverick", {"BF16", "FP8", "INT4", "NVFP4"}),
        ("mixtral-8x22b", {"BF16", "FP8", "INT4"}),
        ("mixtral-8x7b", {"BF16", "FP8", "INT4", "NVFP4"}),
        ("qwen2-57b-a14b", {"BF16", "FP8", "INT4"}),
        ("llama-3-70b", {"BF16", "FP8", "INT4", "NVFP4"}),
        ("qwen3-235b-a22b", {"BF16", "FP8", "INT4", "NVFP4"}),
        ("qwen3-30b-a3b", {"BF16", "FP8", "INT4", "NVFP4"}),
    ],
)
def test_the_checkpoints_that_are_published(family: str, precisions: set[str]) -> None:
    assert {model.precision for model in models.family(family)} == precisions


def test_size_of_a_checkpoint_as_others_downloaded_it() -> None:
    """Kimi K2 Thinking NVFP4: 553 (GiB) of files in public notes on it."""
    assert load_model("kimi-k2-thinking-nvfp4").file_gib == pytest.approx(553, rel=0.01)


class TestDirectories:
    def test_configuration_alone(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY_CONFIG))
        model = load_model(str(tmp_path))
        assert (model.name, model.layers, model.exact) == (tmp_path.name, 2, False)

    def test_headers_make_it_exact(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY_CONFIG))
        write_safetensors(tmp_path / "model.safetensors", {"model.norm.weight": ("BF16", [256], 512)})
        model = load_model(str(tmp_path))
        assert model.exact
        assert model.file_gib * 2**30 == 512

    def test_modelopts_own_file(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(TINY_CONFIG))
        extra = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
        (tmp_path / "hf_quant_config.json").write_text(json.dumps(extra))
        assert load_model(str(tmp_path)).precision == "NVFP4"

    def test_no_configuration(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"has no config.json"):
            load_model(str(tmp_path))

    def test_broken_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(InvalidInput, match="cannot be read as JSON"):
            load_model(str(tmp_path))

    def test_unknown_architecture_is_bounded_by_the_files(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba9"}))
        write_safetensors(tmp_path / "model.safetensors", {"x": ("BF16", [1 << 30], 1 << 31)})
        with pytest.raises(UnknownArchitecture, match=r"from 2.0/N GiB"):
            load_model(str(tmp_path))

    def test_files_of_other_kinds_bound_what_is_not_understood(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(
            json.dumps(TINY_CONFIG | {"quantization_config": {"quant_method": "zip"}})
        )
        with (tmp_path / "pytorch_model.bin").open("wb") as file:
            file.truncate(1 << 31)
        with pytest.raises(UnknownArchitecture, match=r"quant_method 'zip' .*known are fp8, .*from 2.0/N GiB"):
            load_model(str(tmp_path))

    def test_the_address_of_a_repository_is_its_name(self) -> None:
        address = "https://huggingface.co/mistralai/Mixtral-8x7B-Instruct-v0.1"
        assert load_model(address) is load_model("mixtral-8x7b")

    @pytest.mark.parametrize("name", ["m" * 5000, "m" * 5000 + "/x", "nul\0byte"])
    def test_a_name_that_no_file_system_has(self, name: str) -> None:
        with pytest.raises(InvalidInput):
            load_model(name)

    def test_a_file_is_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(InvalidInput, match="is a file: point to its directory"):
            load_model(str(tmp_path / "config.json"))


class TestMeasuredFile:
    ENTRY: ClassVar[dict[str, Any]] = {
        "model": "mixtral-8x7b",
        "gpu": "H100_SXM5",
        "layout": {"tp": 2, "ep": True},
        "tokens_per_second": 900.0,
        "p95_seconds": 2.0,
        "batch": 16,
        "date": "2026-11-24",
    }

    def test_reads_what_bench_writes(self, tmp_path: Path) -> None:
        file = tmp_path / "bench.json"
        file.write_text(json.dumps([self.ENTRY]))
        found = load_measured(file)[0]
        assert (found.tokens_per_second, found.layout.tp, found.layout.ep) == (900.0, 2, True)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "cannot be read"),
            ("{}", "no list"),
            ('[{"model": "m"}]', "result 0"),
            (json.dumps([ENTRY | {"tokens_per_second": -1}]), "not positive"),
            (json.dumps([ENTRY | {"tokens_per_second": float("nan")}]), "tokens_per_second nan is not positive"),
            (json.dumps([ENTRY | {"p95_seconds": float("inf")}]), "p95_seconds inf is not positive"),
            (json.dumps([ENTRY | {"batch": "many"}]), "batch 'many' is not positive"),
            (json.dumps([ENTRY | {"layout": {"tp": "2"}}]), "tp '2' is no size of a layout"),
            (json.dumps([ENTRY | {"layout": {"pp": -1}}]), "pp -1 is no size of a layout"),
            (json.dumps([ENTRY | {"layout": []}]), "result 0"),
            (json.dumps([ENTRY | {"batch": 10**400}]), "result 0"),
        ],
    )
    def test_mistakes_are_one_line(self, tmp_path: Path, content: str, message: str) -> None:
        file = tmp_path / "bench.json"
        file.write_text(content)
        with pytest.raises(InvalidInput, match=message):
            load_measured(file)


def test_a_warm_plan_takes_milliseconds() -> None:
    from moestro.catalog import plan_catalog
    from moestro.planning.planner import Request

    plan_catalog("deepseek-v3.2", "H200", Request(count=8))
    start = time.process_time()
    for _ in range(20):
        plan_catalog("deepseek-v3.2", "H200", Request(count=8))
    assert (time.process_time() - start) / 20 < 0.005
