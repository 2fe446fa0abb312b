from dataclasses import replace

import pytest

from moestro.errors import HostError, InvalidInput
from moestro.hosts.facts import Engine, Facts
from moestro.hosts.steps.engine import EngineRequest, find_engine, install_engine, remove_engines, system_packages
from tests.unit.hosts.test_facts import recorded

SANDBOX = recorded("sandbox-debian-12")
H200 = recorded("ubuntu-2204-8xh200")
BARE = replace(H200, engines=(), engine_link=None, nvcc=None)

VLLM = EngineRequest("cuda", "vllm", "0.33.0")
CPU = EngineRequest("cpu", "vllm", "0.32.0")


def script_of(facts: Facts, request: EngineRequest) -> str:
    (command,) = install_engine(facts, request).commands
    assert command.detached
    return command.script


class TestBakedIn:
    def test_the_right_version_is_used_as_it_is(self) -> None:
        assert not install_engine(SANDBOX, CPU).needed
        found = find_engine(SANDBOX, CPU)
        assert found is not None
        assert found.root == "/opt/vllm"
        assert system_packages(CPU, SANDBOX) == []

    def test_another_version_on_a_cpu_is_refused_with_what_there_is(self) -> None:
        with pytest.raises(HostError, match=r"needs vllm 0\.31\.0 in the host image.*found: vllm 0\.32\.0\+cpu"):
            install_engine(SANDBOX, replace(CPU, version="0.31.0"))

    def test_a_cpu_build_is_no_cuda_build(self) -> None:
        facts = replace(BARE, engines=(Engine("/opt/vllm", "vllm", "0.33.0+cpu", ours=False),))
        assert find_engine(facts, VLLM) is None

    def test_a_cuda_build_of_the_right_version_is_used(self) -> None:
        facts = replace(BARE, engines=(Engine("/opt/vllm", "vllm", "0.33.0", ours=False),))
        assert find_engine(facts, VLLM) == facts.engines[0]

    def test_nothing_is_added_to_what_others_installed(self) -> None:
        facts = replace(BARE, engines=(Engine("/opt/vllm", "vllm", "0.33.0", ours=False),))
        assert find_engine(facts, replace(VLLM, packages=("ray",))) is None
        assert find_engine(facts, replace(VLLM, deep_gemm=True)) is None
        assert find_engine(replace(facts, nvcc="13.0"), replace(VLLM, deep_gemm=True)) is not None


class TestOurs:
    def test_the_installed_version_is_found_under_the_stable_path(self) -> None:
        assert not install_engine(H200, VLLM).needed
        assert find_engine(H200, VLLM) == Engine("/opt/moestro/engine", "vllm", "0.33.0", ours=True)

    def test_another_version_is_installed_beside_it(self) -> None:
        script = script_of(H200, replace(VLLM, version="0.34.0"))
        assert "uv venv --python 3.12 /opt/moestro/engines/vllm-0.34.0" in script
        assert "rm -rf /opt/moestro/engines/vllm-0.34.0" in script
        assert "rm -rf /opt/moestro/engines/vllm-0.33.0" not in script

    def test_an_installed_version_that_is_not_in_use_is_switched_to_and_not_installed_again(self) -> None:
        script = script_of(replace(H200, engine_link="/opt/moestro/engines/vllm-0.34.0"), VLLM)
        assert "if [ ! -e /opt/moestro/engines/vllm-0.33.0/.moestro.json ]" in script

    def test_a_link_to_an_engine_that_is_gone_is_not_trusted(self) -> None:
        assert find_engine(replace(H200, engines=()), VLLM) is None

    def test_the_marker_comes_last_and_the_link_after_it(self) -> None:
        script = script_of(BARE, VLLM)
        order = [script.index(part) for part in ("uv pip install", "download-kernels", ".moestro.json\nfi", "mv -fT")]
        assert order == sorted(order)

    def test_vllm_is_installed_as_its_documentation_says(self) -> None:
        script = script_of(BARE, VLLM)
        assert "--torch-backend=auto vllm==0.33.0\n" in script
        assert "/opt/moestro/engines/vllm-0.33.0/bin/vllm download-kernels" in script
        assert "deep-gemm" not in script
        assert "cuda-toolkit" not in script

    def test_deep_gemm_brings_nvcc_and_never_the_package(self) -> None:
        request = replace(VLLM, deep_gemm=True)
        script = script_of(BARE, request)
        assert "'cuda-toolkit[nvcc,cccl,cudart]'" in script
        assert f"nvidia/cu13 {request.root}/cuda" in script
        assert "deep-gemm" not in script
        assert request.root != VLLM.root

    def test_sglang(self) -> None:
        script = script_of(BARE, EngineRequest("cuda", "sglang", "0.5.23", packages=("nixl>=0.6",)))
        assert "sglang==0.5.23 'nixl>=0.6'" in script
        assert "download-kernels" not in script

    def test_the_compiler_comes_from_the_system(self) -> None:
        assert "build-essential" in system_packages(VLLM, BARE)
        assert system_packages(VLLM, H200) == []

    def test_removing_touches_only_ours(self) -> None:
        assert "/opt/vllm" not in remove_engines().script
        assert "/opt/moestro/engines" in remove_engines().script


class TestRefused:
    @pytest.mark.parametrize("package", ["deep-gemm", "deep_gemm==1.0.0", "Deep.GEMM>=1", "deep-gemm @ git+https://x"])
    def test_deep_gemm_as_a_package_would_shadow_the_engines_own(self, package: str) -> None:
        with pytest.raises(InvalidInput, match="deepGemm"):
            install_engine(BARE, replace(VLLM, packages=(package,)))

    def test_a_package_with_a_similar_name_is_fine(self) -> None:
        assert "deep-gemm-tools" in script_of(BARE, replace(VLLM, packages=("deep-gemm-tools",)))

    @pytest.mark.parametrize("request_", [replace(VLLM, engine="tgi"), replace(VLLM, device="rocm")])
    def test_unknown_engines_and_devices(self, request_: EngineRequest) -> None:
        with pytest.raises(InvalidInput, match="is unknown"):
            install_engine(BARE, request_)
