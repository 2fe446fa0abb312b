import os
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from moestro.errors import Cancelled, CommandFailed, HostError
from moestro.hosts import layout
from moestro.hosts.ssh import Host
from moestro.hosts.upload import digest_of, local_tree, upload_tree
from moestro.hosts.weights import WeightsSpec, ensure_weights, read_weights, remove_weights
from moestro.waiting import Wait
from tests.integration.hosts.conftest import Machine
from tests.integration.hosts.fake_hub import COMMIT, FakeHub

pytestmark = pytest.mark.docker

REPOSITORY = "org/tiny-moe"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "sub" / "model part 1.safetensors").write_bytes(os.urandom(3_000_000))
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.fixture
def spec(source: Path) -> WeightsSpec:
    return WeightsSpec(source=str(source), digest=digest_of(source), model="tiny")


def of_remote(machine: Machine, path: str) -> dict[str, str]:
    lines = machine.inside(f"cd {path} && find . -type f -printf '%P\\n' | xargs -d '\\n' sha256sum").splitlines()
    return {line[66:]: line[:64] for line in lines}


def of_local(source: Path) -> dict[str, str]:
    return {name: file.sha256 for name, file in local_tree(source).items()}


class TestUpload:
    def test_brings_the_files_and_then_does_nothing(self, machine: Machine, source: Path, spec: WeightsSpec) -> None:
        connection, wait = machine.connection(), Wait.of(60)
        state = ensure_weights(connection, spec, wait)
        assert (state.path, state.bytes, state.digest) == (spec.path, 3_000_002, digest_of(source))
        assert of_remote(machine, spec.path) == of_local(source)
        assert machine.inside(f"stat -c '%U %a' {spec.path} {spec.path}/config.json") == "root 755\nroot 644"
        before = machine.inside(f"stat -c %Y.%i {spec.path}/*")
        assert ensure_weights(connection, spec, wait) == state
        assert machine.inside(f"stat -c %Y.%i {spec.path}/*") == before
        assert machine.inside(f"find {layout.WEIGHTS} -name '.upload*'") == ""

    def test_a_lost_or_cut_file_is_drift_and_only_it_is_brought_again(
        self, machine: Machine, host: Host, source: Path, spec: WeightsSpec
    ) -> None:
        connection, wait = machine.connection(), Wait.of(60)
        ensure_weights(connection, spec, wait)
        machine.inside(f"truncate -s 1 {spec.path}/config.json")
        assert read_weights(connection, spec, wait) is None
        assert upload_tree(host, local_tree(source), spec.path, wait).sent == 2
        assert read_weights(connection, spec, wait) is not None
        machine.inside(f"rm {spec.path}/config.json")
        ensure_weights(connection, spec, wait)
        assert of_remote(machine, spec.path) == of_local(source)

    @pytest.mark.parametrize("corrupt", [False, True])
    def test_goes_on_from_an_earlier_part_and_sees_a_corrupted_one(
        self, machine: Machine, host: Host, source: Path, corrupt: bool
    ) -> None:
        remote = f"{layout.WEIGHTS}/parts/{corrupt}"
        staging = layout.staging_directory(remote)
        part = (source / "sub" / "model part 1.safetensors").read_bytes()[:2_000_000]
        host.write(f"{staging}/sub/model part 1.safetensors", part[:-1] + b"\0\0"[: 1 + corrupt] if corrupt else part)
        result = upload_tree(host, local_tree(source), remote, host.wait)
        assert result.sent == (3_000_002 if corrupt else 1_000_002)
        assert of_remote(machine, remote) == of_local(source)

    def test_a_complete_but_corrupted_file_in_its_place_is_replaced(
        self, machine: Machine, host: Host, source: Path
    ) -> None:
        remote = f"{layout.WEIGHTS}/corrupted"
        upload_tree(host, local_tree(source), remote, host.wait)
        machine.inside(f"printf xx > {remote}/config.json")
        assert upload_tree(host, local_tree(source), remote, host.wait).sent == 2
        assert of_remote(machine, remote) == of_local(source)

    def test_survives_a_connection_that_is_cut_while_it_sends(
        self, machine: Machine, host: Host, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cuts = [1]
        write = paramiko.SFTPFile.write
        staged = f"{layout.staging_directory(f'{layout.WEIGHTS}/cut')}/sub/model part 1.safetensors"
        arrived = f"[ $(stat -c %s '{staged}') -gt 1000000 ]"

        def cut_once(file: paramiko.SFTPFile, data: bytes) -> None:
            if cuts and file.tell() > 1_000_000:
                cuts.pop()
                machine.inside(f"until {arrived}; do sleep 0.1; done; pkill -KILL -f '^sshd: ubuntu'")
            write(file, data)

        monkeypatch.setattr(paramiko.SFTPFile, "write", cut_once)
        result = upload_tree(host, local_tree(source), f"{layout.WEIGHTS}/cut", host.wait)
        assert cuts == []
        assert 3_000_002 <= result.sent < 5_000_002, "the part that had arrived was not sent again"
        assert of_remote(machine, f"{layout.WEIGHTS}/cut") == of_local(source)
        assert any("the connection dropped" in line for line in machine.lines)

    def test_a_cancelled_upload_is_continued(self, machine: Machine, host: Host, source: Path) -> None:
        (source / "large").write_bytes(os.urandom(200_000_000))
        wait = Wait.of(60)
        threading.Timer(0.3, wait.cancel.set).start()
        with pytest.raises(Cancelled):
            upload_tree(host, local_tree(source), f"{layout.WEIGHTS}/cancelled", wait)
        result = upload_tree(host, local_tree(source), f"{layout.WEIGHTS}/cancelled", host.wait)
        assert result.sent <= result.bytes
        assert of_remote(machine, f"{layout.WEIGHTS}/cancelled") == of_local(source)

    def test_a_full_disk_is_named(self, machine: Machine, host: Host, source: Path) -> None:
        machine.inside(f"mkdir -p {layout.WEIGHTS}/full && mount -t tmpfs -o size=1m tmpfs {layout.WEIGHTS}/full")
        with pytest.raises(HostError, match="is the disk full"):
            upload_tree(host, local_tree(source), f"{layout.WEIGHTS}/full/d", host.wait)
        machine.inside(f"umount {layout.WEIGHTS}/full")

    def test_removing_leaves_nothing_and_may_be_done_twice(self, machine: Machine, source: Path) -> None:
        connection, wait = machine.connection(), Wait.of(60)
        spec = WeightsSpec(source=str(source), digest=digest_of(source), model="removed")
        ensure_weights(connection, spec, wait)
        for _ in range(2):
            remove_weights(connection, spec, wait)
            assert read_weights(connection, spec, wait) is None
        assert machine.inside(f"ls {layout.WEIGHTS} | grep removed || true") == ""


class TestDownload:
    @pytest.fixture
    def hub(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
        machine.container.reload()
        gateway = machine.container.attrs["NetworkSettings"]["Gateway"]
        with FakeHub(REPOSITORY, {"config.json": b"{}", "model.safetensors": os.urandom(2_000_000)}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", f"http://{gateway}:{hub.port}")
            monkeypatch.delenv("HF_TOKEN", raising=False)
            yield hub
            remove_weights(machine.connection(), WeightsSpec(repo=REPOSITORY), Wait.of(60))

    def test_brings_a_revision_and_then_asks_nobody(self, machine: Machine, hub: FakeHub) -> None:
        connection, wait, spec = machine.connection(), Wait.of(120), WeightsSpec(repo=REPOSITORY)
        state = ensure_weights(connection, spec, wait)
        assert (state.path, state.bytes, state.digest) == (spec.path, 2_000_002, COMMIT)
        assert machine.inside(f"cat {spec.path}/config.json") == "{}"
        asked = len(hub.requests)
        assert ensure_weights(connection, spec, wait) == state
        assert len(hub.requests) == asked

    def test_a_cut_download_is_continued(self, machine: Machine, hub: FakeHub) -> None:
        hub.cut = 1
        state = ensure_weights(machine.connection(), WeightsSpec(repo=REPOSITORY), Wait.of(120))
        assert state.bytes == 2_000_002

    def test_a_token_opens_a_gated_repository_and_stays_nowhere(
        self, machine: Machine, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.token = "hf_hunter2"
        connection, spec = machine.connection(), WeightsSpec(repo=REPOSITORY)
        with pytest.raises(CommandFailed, match="step weights failed") as caught:
            ensure_weights(connection, spec, Wait.of(120))
        assert "restricted" in str(caught.value) or "403" in str(caught.value)
        monkeypatch.setenv("HF_TOKEN", "hf_hunter2")
        ensure_weights(connection, spec, Wait.of(120))
        assert machine.inside("grep -rl hf_hunter2 /var/lib/moestro /etc /root /tmp 2>/dev/null || true") == ""

    def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(self, machine: Machine, hub: FakeHub) -> None:
        spec = WeightsSpec(repo=REPOSITORY, revision="small")
        machine.inside(f"mkdir -p {spec.path} && mount -t tmpfs -o size=1m tmpfs {spec.path}")
        with pytest.raises(CommandFailed, match="choose a machine with a larger disk"):
            ensure_weights(machine.connection(), spec, Wait.of(120))
        machine.inside(f"umount {spec.path}")
        assert not any("resolve" in request for request in hub.requests)


def test_weights_that_are_there_are_only_looked_at(machine: Machine, spec: WeightsSpec) -> None:
    connection, said = machine.connection(), list[str]()
    state = ensure_weights(connection, spec, Wait.of(60))
    assert ensure_weights(connection, spec, Wait.of(60, said.append)) == state
    assert said == []
