from pathlib import Path

import pytest

from moestro.errors import HostError
from moestro.hosts import runtime
from moestro.hosts.runtime import RuntimeSpec, RuntimeState, ensure_runtime, read_runtime, remove_runtime
from moestro.waiting import Wait
from tests.unit.hosts.fake_host import CONNECTION, FakeHost
from tests.unit.hosts.test_facts import recorded

FACTS = Path(__file__).parents[2] / "fixtures" / "facts"
CPU = RuntimeSpec("cpu", "vllm", "0.32.0")
CUDA = RuntimeSpec("cuda", "vllm", "0.33.0")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(lambda _: "")
    monkeypatch.setattr(runtime, "connect", lambda *_: host)
    return host


def be(host: FakeHost, name: str) -> None:
    report = (FACTS / f"{name}.txt").read_text()
    host.answer = lambda command: report if "==moestro==" in command else ""


def test_a_host_that_has_everything_takes_one_round_trip(host: FakeHost) -> None:
    be(host, "sandbox-debian-12")
    state = ensure_runtime(CONNECTION, CPU, Wait())
    assert state == RuntimeState("/opt/vllm/bin/vllm", "0.32.0+cpu", "Debian GNU/Linux 12 (bookworm)", 2, 23.5, ())
    assert len(host.commands) == 1


def test_a_gpu_host_that_has_everything(host: FakeHost) -> None:
    be(host, "ubuntu-2204-8xh200")
    state = ensure_runtime(CONNECTION, CUDA, Wait())
    assert state.engine_path == "/opt/moestro/engine/bin/vllm"
    assert state.gpus == ("NVIDIA H200",) * 8
    assert (state.driver_version, state.cuda_version) == ("580.126.09", "13.0")
    assert read_runtime(CONNECTION, CUDA, Wait()) == state


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("ubuntu-2204-8xh200", RuntimeSpec("cuda", "vllm", "0.34.0")),
        ("ubuntu-2204-8xh200", RuntimeSpec("cuda", "vllm", "0.33.0", packages=("apt:iperf3",))),
        ("ubuntu-2204-8xh200", RuntimeSpec("cuda", "vllm", "0.33.0", packages=("ray",))),
        ("ubuntu-2404-driver-mismatch", CUDA),
        ("ubuntu-2204-2x4090-pcie", CUDA),
    ],
)
def test_reading_a_host_that_lacks_something(host: FakeHost, name: str, spec: RuntimeSpec) -> None:
    be(host, name)
    assert read_runtime(CONNECTION, spec, Wait()) is None


def test_the_wrong_engine_on_a_cpu_host_is_an_error_before_anything_is_changed(host: FakeHost) -> None:
    be(host, "sandbox-debian-12")
    with pytest.raises(HostError, match=r"found: vllm 0\.32\.0\+cpu"):
        ensure_runtime(CONNECTION, RuntimeSpec("cpu", "vllm", "0.33.0"), Wait())
    assert len(host.commands) == 1


def test_packages_are_python_requirements_unless_they_say_apt() -> None:
    spec = RuntimeSpec("cuda", "vllm", "0.33.0", packages=("ray>=2.50", "apt:iperf3"))
    assert spec.debian_packages == ("iperf3",)
    assert spec.request.packages == ("ray>=2.50",)


def test_steps_come_in_the_order_in_which_they_need_each_other() -> None:
    facts = recorded("ubuntu-2204-no-driver")
    names = [plan(facts).name for plan in runtime._plans(CUDA)]
    assert names == ["boot", "driver", "packages", "engine"]


def test_removing_leaves_what_the_image_brought_along(host: FakeHost) -> None:
    remove_runtime(CONNECTION, CPU, Wait())
    (command,) = host.commands
    assert "/opt/moestro/engines" in command
    assert "/opt/vllm" not in command
    assert "apt" not in command
