import json
import re
from pathlib import Path

import pytest
import yaml

from moestro.declaration import plan_for
from moestro.settings import parse_settings
from tests.unit.cli.running import Shell

A100 = ("plan", "mixtral-8x22b-fp8", "--gpu", "A100_80G_PCIE", "--count", "4", "--context", "16384")
TOO_BIG = ("plan", "deepseek-v3.2", "--gpu", "H100_SXM5", "--count", "8")


class TestJson:
    def test_stable_keys(self, shell: Shell) -> None:
        outcome = shell(*A100, "--json")
        data = json.loads(outcome.out)
        assert outcome.code == 0
        assert {"model", "gpu", "count", "layout", "memory", "launch", "cost", "rejected"} <= data.keys()
        assert {"tp", "pp", "dp", "ep", "nodes"} <= data["layout"].keys()
        assert {
            "weights_gib_per_gpu",
            "kv_bytes_per_token_per_gpu",
            "kv_tokens",
            "overhead_gib_per_gpu",
            "fits",
            "labels",
        } <= data["memory"].keys()
        assert {"usd_per_hour", "usd_per_month", "usd_per_million_tokens"} <= data["cost"].keys()
        assert {"layout", "reason"} <= data["rejected"][0].keys()

    def test_values_of_the_seeds_entry_point(self, shell: Shell) -> None:
        data = json.loads(shell(*A100, "--json").out)
        assert data["gpu"] == "A100_80G_PCIE"
        assert data["memory"]["fits"] is True
        assert data["memory"]["weights_gib_per_gpu"] == pytest.approx([32.8], abs=0.2)
        assert data["cost"]["usd_per_hour"] == pytest.approx(4.28)
        assert data["launch"]["argv"][:3] == ["vllm", "serve", data["model"]]
        assert data["launch"]["env"] == {"VLLM_USE_DEEP_GEMM": "0"}

    def test_what_does_not_fit_is_told_with_code_3(self, shell: Shell) -> None:
        outcome = shell(*TOO_BIG, "--json")
        data = json.loads(outcome.out)
        assert outcome.code == 3
        assert data["memory"]["fits"] is False
        assert data["launch"]["argv"] == []
        assert "GiB" in data["reasons"][0]

    def test_weights_of_every_stage_and_lines_of_every_node(self, shell: Shell) -> None:
        data = json.loads(shell("plan", "kimi-k2", "--gpu", "H100", "--count", "16", "--context", "8192", "--json").out)
        assert len(data["memory"]["weights_gib_per_gpu"]) == data["layout"]["pp"] == 2
        assert len(data["launch"]["other_nodes"]) == 1
        assert "--headless" in data["launch"]["other_nodes"][0]["argv"]

    def test_compared_plans(self, shell: Shell) -> None:
        data = json.loads(shell(*A100, "--json", "--compare").out)
        assert len({one["gpu"] for one in data["compared"]}) > 5

    @pytest.mark.parametrize("gpu", ["A100_80G_PCIE", "B300_SXM6", "cpu"])
    def test_every_figure_of_the_memory_has_a_label(self, gpu: str, shell: Shell) -> None:
        memory = json.loads(shell("plan", "mixtral-8x7b", "--gpu", gpu, "--context", "4096", "--json").out)["memory"]
        assert memory.keys() - {"fits", "labels"} == memory["labels"].keys()
        guessed = memory["labels"]["total_gib_per_gpu"] == memory["labels"]["usable_gib_per_gpu"] == "estimated"
        assert guessed == (gpu == "B300_SXM6")

    def test_json_is_alone_on_stdout(self, shell: Shell, tmp_path: Path) -> None:
        outcome = shell(*A100, "--json", "--html", tmp_path / "plan.html")
        assert json.loads(outcome.out)["count"] == 4
        assert outcome.err == f"wrote {tmp_path / 'plan.html'}\n"

    def test_seed_tables(self, shell: Shell) -> None:
        titles = [one["title"] for one in json.loads(shell("plan", "--seed-tables", "--json").out)]
        assert {"The models", "Decision matrix", "Cost per token"} <= set(titles)


class TestOptions:
    def test_exact_layout_and_engine_knobs(self, shell: Shell) -> None:
        knobs = ("--gpu-memory-utilization", "0.85", "--kv-cache-dtype", "fp8", "--enforce-eager")
        layout = ("--tp", "2", "--pp", "2", "--dp", "1", "--no-ep", "--nodes", "1")
        limits = ("--max-num-batched-tokens", "4096", "--max-num-seqs", "32")
        gpu = ("--gpu", "H200", "--context", "8192")
        data = json.loads(shell("plan", "mixtral-8x22b-fp8", *gpu, *layout, *knobs, *limits, "--json").out)
        layout_keys = ("tp", "pp", "dp", "ep", "nodes")
        assert [data["layout"][key] for key in layout_keys] == [2, 2, 1, False, 1]
        engine = data["engine"]
        assert (engine["gpu_memory_utilization"], engine["kv_cache_dtype"]) == (0.85, "fp8")
        assert (engine["max_num_batched_tokens"], engine["max_num_seqs"], engine["enforce_eager"]) == (4096, 32, True)

    def test_spot(self, shell: Shell) -> None:
        data = json.loads(shell("plan", "mixtral-8x7b-fp8", "--gpu", "A100_80G_PCIE", "--spot", "--json").out)
        assert data["cost"]["purchase"] == "spot"
        assert any("dearer" in warning for warning in data["warnings"])

    def test_sglang(self, shell: Shell) -> None:
        outcome = shell("plan", "mixtral-8x7b-fp8", "--gpu", "H100", "--engine", "sglang", "--json")
        data = json.loads(outcome.out)
        assert data["launch"]["argv"][:2] == ["sglang", "serve"]
        assert any("cannot demand client certificates" in warning for warning in data["warnings"])

    def test_a_search_for_sglang_says_what_it_cannot_do(self, shell: Shell) -> None:
        assert "cannot demand client certificates" in shell("plan", "mixtral-8x7b-fp8", "--engine", "sglang").out
        assert "client certificates" not in shell("plan", "mixtral-8x7b-fp8").out

    def test_local_directory_is_what_the_engine_is_pointed_at(self, shell: Shell, directory: Path) -> None:
        outcome = shell("plan", directory, "--gpu", "H100", "--json")
        assert outcome.code == 0
        assert json.loads(outcome.out)["launch"]["argv"][2] == str(directory)

    def test_search_takes_the_cheapest(self, shell: Shell) -> None:
        load = ("--context", "8192", "--concurrency", "4", "--json")
        data = json.loads(shell("plan", "mixtral-8x7b-fp8", "--gpu", "auto", *load).out)
        assert (data["gpu"], data["count"]) == ("A100_80G_PCIE", 1)

    def test_search_gives_the_next_ones_in_order(self, shell: Shell) -> None:
        command = ("plan", "mixtral-8x7b-fp8", "--context", "8192", "--concurrency", "4")
        data = json.loads(shell(*command, "--json").out)
        every = [data, *data["next"]]
        prices = [one["cost"]["usd_per_hour"] for one in every if one["cost"]["usd_per_hour"] is not None]
        assert prices == sorted(prices)
        assert [one["cost"]["usd_per_hour"] is None for one in every] == sorted(
            one["cost"]["usd_per_hour"] is None for one in every
        )
        assert (len(every), all(one["memory"]["fits"] for one in every)) == (5, True)
        assert f"next would be {data['next'][0]['count']}x {data['next'][0]['gpu']}" in shell(*command).out

    def test_search_among_named_types(self, shell: Shell) -> None:
        named = ("--gpu", "H100_PCIE", "--gpu", "B200_SXM6")
        data = json.loads(shell("plan", "mixtral-8x7b-fp8", *named, "--context", "8192", "--json").out)
        assert data["gpu"] == "H100_PCIE"

    def test_limits_hold_for_a_single_type_too(self, shell: Shell) -> None:
        dear = shell("plan", "deepseek-v3.2", "--gpu", "B200", "--max-price", "3")
        assert (dear.code, "the cheapest is 8x B200_SXM6 at $59.44/h" in dear.err) == (2, True)
        slow = shell("plan", "mixtral-8x7b-fp8", "--gpu", "H100_PCIE", "--min-tokens-per-second", "1e7")
        assert (slow.code, "the fastest is" in slow.err) == (2, True)
        fast = ("--min-tokens-per-second", "5000", "--context", "4096", "--json")
        data = json.loads(shell("plan", "mixtral-8x7b-fp8", "--gpu", "H100_PCIE", *fast).out)
        assert data["throughput"]["tokens_per_second"] >= 5000

    def test_regions_of_which_nothing_is_known_are_told(self, shell: Shell) -> None:
        data = json.loads(shell("plan", "mixtral-8x7b-fp8", "--region", "Iceland 1", "--json").out)
        assert any("whether Iceland 1 has A100_80G_PCIE is not known" in one for one in data["warnings"])

    def test_json_of_a_search_that_finds_nothing(self, shell: Shell) -> None:
        outcome = shell("plan", "kimi-k2", "--gpu", "L40S", "--gpu", "A100", "--max-nodes", "1", "--json")
        data = json.loads(outcome.out)
        assert (outcome.code, data["memory"]["fits"], data["launch"]["argv"]) == (3, False, [])
        assert "fits on none of L40S_PCIE, A100_80G_PCIE" in data["reasons"][0]


class TestText:
    def test_plan(self, shell: Shell) -> None:
        out = shell(*A100).out
        assert "fits" in out.splitlines()[0]
        assert "USD/h" in out
        assert "estimated" in out
        assert "vllm serve" in out

    def test_every_figure_has_its_label(self, shell: Shell) -> None:
        labels = ("derived", "estimated", "illustrative", "measured")
        fields = ("weights", "overhead", "KV cache", "cost", "batch job", "throughput", "the seed", "rule of thumb")
        told = {
            name: line for line in shell(*A100).out.splitlines() for name in fields if line.startswith(f"  {name} ")
        }
        assert told.keys() == set(fields)
        assert all(any(label in line for label in labels) for line in told.values())

    def test_the_rule_of_thumb_has_the_cache_that_was_asked_for(self, shell: Shell) -> None:
        memory = json.loads(shell(*A100, "--concurrency", "2", "--json").out)["memory"]
        assert memory["seed_rule_gb"] == pytest.approx(140.63 * 1.15, rel=0.001)
        assert memory["seed_rule_kv_gb"] == pytest.approx(2 * 16384 * 229376 / 1e9)
        told = "parameters × bytes × 1.15 + KV cache = 161.7 + 7.5 = 169.2 GB for the whole model (illustrative)"
        assert told in shell(*A100, "--concurrency", "2").out

    def test_batch_job(self, shell: Shell) -> None:
        b200 = ("plan", "deepseek-v3.2", "--gpu", "B200", "--count", "8")
        assert "10 h a day: 594.40 USD on-demand, 133.60 USD on spot; spot saves 460.80 USD a day" in shell(*b200).out
        assert "spot costs more: 0.56 USD a day" in shell(*A100, "--hours-per-day", "2").out
        assert "(59.44 − 13.36) × 10 h" in shell(*b200, "--explain").out
        assert json.loads(shell(*b200, "--json").out)["cost"]["batch_job"]["saved_usd_per_day"] == pytest.approx(460.8)

    def test_refusal_names_its_reason_and_no_command(self, shell: Shell) -> None:
        outcome = shell("plan", "deepseek-v3.2", "--gpu", "A100_80G_SXM4", "--count", "8")
        assert outcome.code == 3
        assert "sparse attention" in outcome.out
        assert "vllm serve" not in outcome.out

    def test_explain_gives_formula_label_and_source(self, shell: Shell) -> None:
        out = shell(*A100, "--explain").out
        assert "79.15 × 0.9" in out
        for word in ("routed experts", "KV tokens of the replica", "derived", "estimated", "illustrative", "× 730 h"):
            assert word in out

    def test_compare_lists_every_gpu(self, shell: Shell) -> None:
        out = shell(*A100, "--compare").out
        assert all(name in out for name in ("H100_SXM5", "A100_80G_PCIE", "B200_SXM6", "L40S_PCIE"))

    def test_without_arguments_there_is_help(self, shell: Shell) -> None:
        outcome = shell()
        assert outcome.code == 0
        assert "plan" in outcome.out


class TestHtml:
    def test_page_is_self_contained(self, shell: Shell, tmp_path: Path) -> None:
        target = tmp_path / "plan.html"
        assert shell(*A100, "--html", target).code == 0
        text = target.read_text()
        assert text.count("<svg") == 2
        assert "Layouts not taken" in text
        assert "<script" not in text
        assert 'src="http' not in text
        assert "@import" not in text

    def test_page_of_what_does_not_fit(self, shell: Shell, tmp_path: Path) -> None:
        target = tmp_path / "plan.html"
        assert shell(*TOO_BIG, "--html", target).code == 3
        assert "does not fit" in target.read_text()

    def test_types_that_refuse_the_model_have_a_reason_and_no_bar(self, shell: Shell, tmp_path: Path) -> None:
        target = tmp_path / "plan.html"
        assert shell("plan", "deepseek-v3.2", "--gpu", "B200", "--html", target).code == 0
        text = target.read_text()
        assert "too little" not in text
        refused = text.split("GPU types that cannot run it")[1].split("</section>")[0]
        assert all(name in refused for name in ("A100_80G_PCIE", "L40S_PCIE", "RTXPRO6000_PCIE"))


class TestCatalogCommands:
    @pytest.mark.parametrize(
        ("command", "needle"), [("models", "kimi-k2-thinking"), ("gpus", "RTXPRO6000_PCIE"), ("prices", "2026-04-02")]
    )
    def test_table_and_json(self, shell: Shell, command: str, needle: str) -> None:
        assert needle in shell(command).out
        assert needle in json.dumps(json.loads(shell(command, "--json").out))


class TestPin:
    STACK = """\
# A stack.
config:
  moe:cloud:
    name: spheron
  moe:model:
    repo: mixtral-8x7b-fp8
  moe:gpu:
    type: auto  # see docs
  moe:load:
    context: 8192
  moe:gateway:
    apiKeys:
      alice:
        secure: AAAA
"""

    def test_search_is_written_into_the_file(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK)
        outcome = shell("plan", "--pin", stack)
        assert outcome.code == 0
        assert "pinned 1x A100_80G_PCIE, on-demand" in outcome.out
        text = stack.read_text()
        assert "    type: A100_80G_PCIE  # see docs\n    count: 1\n    purchase: on-demand\n" in text
        assert text.startswith("# A stack.")
        again = shell("plan", "--pin", stack)
        assert again.code == 0
        assert "already says" in again.out
        assert stack.read_text() == text

    def test_a_replica_of_a_stack_is_one_machine(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK.replace("mixtral-8x7b-fp8", "deepseek-v3.2"))
        assert shell("plan", "--pin", stack).code == 0
        assert "type: B200_SXM6" in stack.read_text()
        assert shell("plan", "--pin", stack, "--gpu", "auto", "--max-nodes", "2").code == 0
        assert "type: H100_PCIE" in stack.read_text()

    def test_json_is_alone_on_stdout(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK)
        outcome = shell("plan", "--pin", stack, "--json")
        assert json.loads(outcome.out)["gpu"] == "A100_80G_PCIE"
        assert outcome.err.startswith("pinned 1x A100_80G_PCIE")

    def test_budget_of_the_stack_holds(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK.replace("name: spheron", "name: spheron\n    maxUsdPerHour: 0.5"))
        before = stack.read_text()
        outcome = shell("plan", "--pin", stack, "--gpu", "A100_80G_PCIE", "--gpu", "B200_SXM6")
        assert outcome.code == 2
        assert "$1.07/h" in outcome.err
        assert stack.read_text() == before

    def test_an_unknown_price_stands_where_no_known_one_is_in_the_budget(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK.replace("name: spheron", "name: spheron\n    maxUsdPerHour: 0.5"))
        outcome = shell("plan", "--pin", stack, "--gpu", "A100_80G_PCIE", "--gpu", "H200_SXM5")
        assert outcome.code == 0
        assert "pinned 1x H200_SXM5" in outcome.out
        assert "its price is not known here" in outcome.out
        before = stack.read_text()
        strict = shell("plan", "--pin", stack, "--gpu", "A100_80G_PCIE", "--gpu", "H200_SXM5", "--max-price", "0.5")
        assert (strict.code, stack.read_text()) == (2, before)
        assert "is known to cost at most $0.5/h" in strict.err

    def test_line_ends_of_the_file_stay(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_bytes(self.STACK.replace("\n", "\r\n").encode())
        assert shell("plan", "--pin", stack).code == 0
        assert stack.read_bytes().count(b"\n") == stack.read_bytes().count(b"\r\n") > 10

    @pytest.mark.parametrize("name", ["deepseek-prod", "mixtral-dev", "local"])
    def test_every_stack_of_the_checkout_can_be_pinned(self, name: str, shell: Shell, tmp_path: Path) -> None:
        text = (Path(__file__).parents[3] / "stacks" / f"Pulumi.{name}.yaml").read_text()
        kept = [line for line in text.splitlines() if not line.strip().startswith(("count:", "purchase:"))]
        stack = tmp_path / f"Pulumi.{name}.yaml"
        stack.write_text(re.sub(r"(?m)^    type: \w+$", "    type: auto", "\n".join(kept) + "\n"))
        assert "type: auto" in stack.read_text()
        if name == "local":
            repo = "repo: RedHatAI/Mixtral-8x22B-Instruct-v0.1-FP8"
            replaced = stack.read_text().replace("directory: cache:tiny-mixtral", repo)
            stack.write_text(replaced.replace("name: sandbox", "name: spheron"))
        outcome = shell("plan", "--pin", stack)
        assert outcome.code == 0, outcome.err
        config = yaml.safe_load(stack.read_text())["config"]
        given = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        settings = parse_settings(given)
        assert settings.gpu.count in (1, 2, 4, 8)
        found = plan_for(settings)
        assert (found.gpu, found.count, found.memory.fits) == (settings.gpu.type, settings.gpu.count, True)

    def test_mistakes_of_the_stack_are_named(self, shell: Shell, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        stack.write_text(self.STACK.replace("context", "contxt"))
        outcome = shell("plan", "--pin", stack)
        assert outcome.code == 2
        assert "did you mean 'context'?" in outcome.err
        assert outcome.err.count("\n") == 1


class TestMeasured:
    def test_a_benchmark_takes_the_place_of_the_estimate(self, shell: Shell, tmp_path: Path) -> None:
        one_gpu = ("plan", "mixtral-8x7b-fp8", "--gpu", "A100_80G_PCIE", "--context", "8192", "--json")
        estimated = json.loads(shell(*one_gpu).out)
        result = {
            "model": estimated["model"],
            "gpu": estimated["gpu"],
            "layout": estimated["layout"],
            "tokens_per_second": 1234.0,
            "p95_seconds": 2.0,
            "batch": 16,
            "date": "2026-11-24",
        }
        (tmp_path / "measured.json").write_text(json.dumps([result]))
        data = json.loads(shell(*one_gpu, "--measured", tmp_path / "measured.json").out)
        assert estimated["throughput"]["label"] == "estimated"
        assert data["throughput"]["label"] == data["cost"]["labels"]["usd_per_million_tokens"] == "measured"
        assert estimated["cost"]["labels"]["usd_per_million_tokens"] == "estimated"
        assert data["throughput"]["tokens_per_second"] == 1234.0
        assert data["cost"]["usd_per_million_tokens"] == pytest.approx(1.07 / 3600 / 1234 * 1e6)

    def test_a_file_that_is_none(self, shell: Shell, tmp_path: Path) -> None:
        (tmp_path / "measured.json").write_text("{}")
        outcome = shell("plan", "mixtral-8x7b-fp8", "--gpu", "H100", "--measured", tmp_path / "measured.json")
        assert outcome.code == 2
        assert "holds no list of results" in outcome.err
