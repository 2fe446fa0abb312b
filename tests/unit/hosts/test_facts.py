from pathlib import Path

import pytest

from moestro.errors import HostError
from moestro.hosts.facts import Engine, Facts, Gpu, Unit, all_nvlink, gather, parse
from moestro.hosts.scripts import script
from tests.unit.hosts.fake_host import FakeHost

RECORDED = Path(__file__).parents[2] / "fixtures" / "facts"


def recorded(name: str) -> Facts:
    return parse((RECORDED / f"{name}.txt").read_text())


class TestParse:
    def test_a_host_of_the_sandbox(self) -> None:
        facts = recorded("sandbox-debian-12")
        assert (facts.os_id, facts.os_version, facts.arch, facts.cpus) == ("debian", "12", "x86_64", 2)
        assert facts.memory_gib == pytest.approx(23.54, abs=0.01)
        assert facts.disk_free_gib == pytest.approx(68258258944 / 2**30)
        assert facts.virtualization == "docker"
        assert facts.engines == (Engine("/opt/vllm", "vllm", "0.32.0+cpu", ours=False),)
        assert (facts.gpus, facts.driver_version, facts.driver_error, facts.all_nvlink) == ((), None, None, None)
        assert (facts.python, facts.nvcc, facts.cloud_init, facts.apt_locked) == ("3.11.2", None, None, False)
        assert facts.packages["libnuma1"] == "2.0.16-1"

    def test_eight_h200_with_nvswitch(self) -> None:
        facts = recorded("ubuntu-2204-8xh200")
        assert facts.gpus == (Gpu("NVIDIA H200", 143771, "9.0"),) * 8
        assert (facts.driver_version, facts.cuda_version, facts.nvcc) == ("580.126.09", "13.0", "13.0")
        assert facts.driver_error is None
        assert facts.all_nvlink is True
        assert (facts.nvidia_devices, facts.nvswitches) == (8, 4)
        assert facts.units == (
            Unit("moestro-engine-deepseek.service", "active", "running"),
            Unit("moestro-job-weights-0123456789ab.service", "failed", "failed"),
        )
        assert facts.engines == (Engine("/opt/moestro/engines/vllm-0.33.0", "vllm", "0.33.0", ours=True),)
        assert facts.engine_link == "/opt/moestro/engines/vllm-0.33.0"
        assert facts.firewall == "ufw"
        assert facts.virtualization == "none"

    def test_gpus_without_a_driver_while_cloud_init_and_apt_are_busy(self) -> None:
        facts = recorded("ubuntu-2204-no-driver")
        assert (facts.gpus, facts.driver_version, facts.driver_error) == ((), None, None)
        assert facts.nvidia_devices == 8
        assert (facts.cloud_init, facts.apt_locked) == ("running", True)

    def test_a_driver_that_does_not_match_its_library(self) -> None:
        facts = recorded("ubuntu-2404-driver-mismatch")
        assert facts.gpus == ()
        assert (
            facts.driver_error
            == "Failed to initialize NVML: Driver/library version mismatch NVML library version: 580.178"
        )
        assert facts.driver_version == "580.173.02", "the version of the module that is loaded"
        assert facts.cuda_version is None
        assert facts.reboot_required

    def test_two_gpus_on_pcie(self) -> None:
        facts = recorded("ubuntu-2204-2x4090-pcie")
        assert facts.all_nvlink is False
        assert facts.gpus[0].memory_mib == 24564
        assert facts.driver_version == "570.195.03"

    def test_newer_nvidia_smi_calls_the_cuda_version_otherwise(self) -> None:
        report = (
            (RECORDED / "ubuntu-2204-8xh200.txt").read_text().replace("CUDA Version: 13.0", "CUDA UMD Version: 13.3")
        )
        assert parse(report).cuda_version == "13.3"

    def test_a_gpu_that_is_split(self) -> None:
        report = (RECORDED / "ubuntu-2204-8xh200.txt").read_text().replace(", 9.0, Disabled", ", 9.0, Enabled", 1)
        assert [gpu.mig for gpu in parse(report).gpus] == [True] + [False] * 7

    def test_what_nvidia_smi_says_beside_its_rows(self) -> None:
        report = (RECORDED / "ubuntu-2204-8xh200.txt").read_text()
        lost = "Unable to determine the device handle for GPU7: 0000:DB:00.0: Unknown Error"
        facts = parse(report.replace("NVIDIA H200, 143771, 580.126.09, 9.0, Disabled", lost, 1))
        assert (len(facts.gpus), facts.driver_error) == (7, lost)

    def test_a_gpu_that_names_no_memory_is_none_to_plan_with(self) -> None:
        report = (RECORDED / "ubuntu-2204-8xh200.txt").read_text().replace("143771", "[N/A]")
        assert (parse(report).gpus, parse(report).driver_version) == ((), "580.126.09")

    @pytest.mark.parametrize("report", ["", "sudo: command not found", "==moestro== os\nID=debian\n"])
    def test_an_answer_that_is_no_report(self, report: str) -> None:
        with pytest.raises(HostError, match="lacks the section"):
            parse(report)


class TestAllNvlink:
    def test_one_gpu_has_nobody_to_talk_to(self) -> None:
        assert all_nvlink("\tGPU0\nGPU0\t X \n", 1) is None

    def test_one_pair_without_nvlink_is_enough_to_say_no(self) -> None:
        matrix = "\tGPU0\tGPU1\tGPU2\nGPU0\t X \tNV4\tNV4\nGPU1\tNV4\t X \tSYS\nGPU2\tNV4\tSYS\t X \n"
        assert all_nvlink(matrix, 3) is False

    def test_an_unreadable_matrix_is_unknown_and_not_a_no(self) -> None:
        assert all_nvlink("Failed to initialize NVML\n", 8) is None


def test_gather_takes_one_command() -> None:
    host = FakeHost(lambda _: (RECORDED / "sandbox-debian-12.txt").read_text())
    gather(host)
    assert host.commands == [script("facts")]


def test_the_script_names_every_section_that_is_read() -> None:
    text = (RECORDED / "sandbox-debian-12.txt").read_text()
    for line in text.splitlines():
        if line.startswith("==moestro== "):
            assert f"say {line.split()[1]}" in script("facts")
