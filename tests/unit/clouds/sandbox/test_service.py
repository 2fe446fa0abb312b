from collections.abc import Callable
from pathlib import Path

import pytest

from moestro.clouds.sandbox import Settings, configure
from moestro.clouds.sandbox.hosts import Presence
from moestro.clouds.sandbox.service import Refusal
from moestro.clouds.sandbox.store import Deployment
from moestro.errors import InvalidInput
from tests.unit.clouds.sandbox.stage import Stage


class TestOrders:
    def test_an_order_becomes_a_machine_with_its_own_address(self, stage: Stage) -> None:
        accepted = stage.sandbox.order(stage.body("web-0")).reply
        assert (accepted["status"], accepted["name"], accepted["hourlyRate"]) == ("deploying", "web-0", 0.0)
        assert accepted["ipAddress"] == "192.0.2.2"  # long before it runs, as on the real cloud
        assert stage.order("web-1") != accepted["id"]
        assert stage.status(str(accepted["id"])) == "running"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"teamId": None}, "Team ID is required for authenticated deployments"),
            ({"teamId": "other"}, "Team not found"),
            ({"gpuType": "H100_PCIE"}, "gpuType does not match"),
            ({"region": "mars"}, "No offer has all of these terms"),
            ({"instanceType": "SPOT"}, "No offer has all of these terms"),
            ({"operatingSystem": "Ubuntu 24.04"}, "No offer has all of these terms"),
            ({"gpuCount": 2}, "No offer has all of these terms"),
            ({"ssh_public_key": None}, "SSH key not found"),
            ({"ssh_public_key": None, "sshKeyId": "nobody's"}, "SSH key not found"),
        ],
    )
    def test_terms_that_fit_no_offer(self, stage: Stage, changes: dict[str, object], message: str) -> None:
        with pytest.raises(Refusal, match=message) as caught:
            stage.order(**changes)
        assert caught.value.status == 400
        assert stage.sandbox.find(None) == []

    def test_no_docker_is_a_refusal_not_a_mystery(self, stage: Stage) -> None:
        stage.hosts.missing = "Docker does not answer"
        with pytest.raises(Refusal, match="Docker does not answer"):
            stage.order()
        assert stage.sandbox.find(None) == []

    def test_a_host_that_does_not_start_leaves_a_failed_machine_and_nothing_else(self, stage: Stage) -> None:
        stage.hosts.failing = "disk full"
        with pytest.raises(Refusal, match="Unable to launch virtual-machines: disk full"):
            stage.order()
        assert [machine["status"] for machine in stage.sandbox.find(None)] == ["failed"]
        assert stage.sandbox.find("active") == []
        assert stage.hosts.log == ["remove web-0"]

    def test_whoever_reads_starts_the_host_of_an_order_whose_process_died(self, stage: Stage) -> None:
        def die(deployment: Deployment) -> bool:
            del deployment
            raise KeyboardInterrupt

        starting, stage.hosts.start = stage.hosts.start, die  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            stage.order()
        stage.hosts.start = starting  # type: ignore[method-assign]
        [machine] = stage.another_process().find("active")
        assert machine["status"] == "deploying"
        assert stage.status(str(machine["id"])) == "running"
        assert stage.hosts.log == ["start web-0"]

    def test_a_host_that_another_process_is_starting_is_left_to_it(self, stage: Stage) -> None:
        stage.hosts.busy = True
        deployment = stage.order()
        assert stage.status(deployment) == "deploying"
        assert stage.hosts.log == []
        stage.hosts.there[deployment] = Presence.REACHABLE
        assert stage.status(deployment) == "running"
        stage.hosts.there.clear()
        assert stage.status(deployment) == "terminated-provider"

    def test_a_machine_that_is_terminated_while_it_starts_leaves_no_host(self, stage: Stage) -> None:
        starting = stage.hosts.start

        def slowly(deployment: Deployment) -> bool:
            stage.another_process()._end(deployment, "terminated")
            return starting(deployment)

        stage.hosts.start = slowly  # type: ignore[method-assign]
        deployment = stage.order()
        assert stage.hosts.there == {}
        assert stage.status(deployment) == "terminated"


class TestStates:
    def test_running_when_sshd_listens(self, stage: Stage) -> None:
        stage.hosts.boots_as = Presence.UP
        deployment = stage.order()
        assert stage.status(deployment) == "deploying"
        stage.hosts.there[deployment] = Presence.REACHABLE
        assert stage.status(deployment) == "running"

    def test_not_before_the_chosen_time(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path / "home", Settings(deploy_seconds=60.0))
        deployment = stage.order()
        stage.now += 59
        assert stage.status(deployment) == "deploying"
        stage.now += 1
        assert stage.status(deployment) == "running"

    def test_a_host_removed_behind_our_back_was_taken_by_the_provider(self, stage: Stage) -> None:
        deployment = stage.order()
        stage.hosts.there.clear()
        assert stage.status(deployment) == "terminated-provider"
        assert stage.sandbox.find("active") == []
        assert [machine["name"] for machine in stage.sandbox.find("inactive")] == ["web-0"]  # it keeps its name

    def test_a_host_that_is_off_is_stopped_and_may_come_back(self, stage: Stage) -> None:
        deployment = stage.order()
        assert stage.status(deployment) == "running"
        stage.hosts.there[deployment] = Presence.STOPPED
        assert stage.status(deployment) == "stopped"
        stage.hosts.there[deployment] = Presence.REACHABLE
        assert stage.status(deployment) == "running"

    def test_unknown_ids(self, stage: Stage) -> None:
        for ask in (stage.sandbox.get, stage.sandbox.terminate, stage.sandbox.can_terminate):
            with pytest.raises(Refusal) as caught:
                ask("nobody")
            assert caught.value.status == 404

    def test_renaming(self, stage: Stage) -> None:
        deployment = stage.order()
        assert stage.sandbox.rename(deployment, "new")["name"] == "new"
        assert stage.sandbox.get(deployment)["name"] == "new"

    def test_living_machines_never_share_a_number_and_ended_ones_give_it_back(self, stage: Stage) -> None:
        first, second = stage.order("a"), stage.order("b")
        addresses = {stage.sandbox.get(machine)["ipAddress"] for machine in (first, second)}
        assert addresses == {"192.0.2.2", "192.0.2.3"}
        stage.sandbox.terminate(first)
        assert stage.sandbox.get(stage.order("c"))["ipAddress"] == "192.0.2.2"


class TestTermination:
    def test_the_host_is_removed_before_it_is_called_terminated(self, stage: Stage) -> None:
        deployment = stage.order()
        reply = stage.sandbox.terminate(deployment)
        assert reply["message"] == "Instance destruction initiated"
        assert stage.hosts.there == {}
        assert stage.status(deployment) == "terminated"

    def test_twice(self, stage: Stage) -> None:
        deployment = stage.order()
        stage.sandbox.terminate(deployment)
        with pytest.raises(Refusal) as caught:
            stage.sandbox.terminate(deployment)
        assert caught.value.body["currentStatus"] == "terminated"

    def test_the_minimum_runtime(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path / "home", Settings(minimum_runtime_minutes=20))
        deployment = stage.order()
        stage.now += 90
        with pytest.raises(Refusal) as caught:
            stage.sandbox.terminate(deployment)
        assert caught.value.body["timeRemaining"] == 18
        assert "at least 20 minutes. Time remaining: 18 minutes" in str(caught.value.body["message"])
        assert stage.sandbox.can_terminate(deployment)["canTerminate"] is False
        stage.now += 18.5 * 60
        assert stage.sandbox.can_terminate(deployment)["canTerminate"] is True
        stage.sandbox.terminate(deployment)


class TestFaults:
    def test_orders_that_are_not_accepted(self, stage: Stage) -> None:
        for kind, status in (("no_stock", 400), ("post_5xx_before_accept", 500), ("rate_limited", 429)):
            stage.faults.arm(kind)
            with pytest.raises(Refusal) as caught:
                stage.order()
            assert caught.value.status == status
        assert stage.sandbox.find(None) == []

    def test_orders_that_are_accepted_though_it_does_not_look_so(self, stage: Stage) -> None:
        stage.faults.arm("post_5xx_after_accept")
        stage.faults.arm("dropped_connection", name="b")
        stage.faults.arm("slow_post", name="c", seconds=30)
        assert stage.sandbox.order(stage.body("a")).fails
        assert stage.sandbox.order(stage.body("b")).drops
        assert stage.sandbox.order(stage.body("c")).delay_seconds == 30
        assert len(stage.sandbox.find("active")) == 3

    @pytest.mark.parametrize("kind", ["list_failure", "get_failure", "delete_failure"])
    def test_failing_requests(self, stage: Stage, kind: str) -> None:
        deployment = stage.order()
        stage.faults.arm(kind)
        asks: dict[str, Callable[[], object]] = {
            "list_failure": lambda: stage.sandbox.find(None),
            "get_failure": lambda: stage.sandbox.get(deployment),
            "delete_failure": lambda: stage.sandbox.terminate(deployment),
        }
        ask = asks[kind]
        with pytest.raises(Refusal) as caught:
            ask()
        assert caught.value.status == 500
        assert stage.status(deployment) == "running"  # nothing happened
        ask()

    def test_a_termination_that_comes_too_early(self, stage: Stage) -> None:
        deployment = stage.order()
        stage.faults.arm("early_delete", seconds=200)
        with pytest.raises(Refusal) as caught:
            stage.sandbox.terminate(deployment)
        assert (caught.value.body["canTerminate"], caught.value.body["timeRemaining"]) == (False, 3)
        stage.sandbox.terminate(deployment)

    def test_preemption(self, stage: Stage) -> None:
        first, second = stage.order("a"), stage.order("b")
        assert stage.status(first) == stage.status(second) == "running"
        stage.faults.arm("preemption", name="b")
        assert stage.status(first) == "running"
        assert stage.status(second) == "terminated-provider"
        assert list(stage.hosts.there) == [first]

    def test_changed_host_keys(self, stage: Stage) -> None:
        deployment = stage.order()
        stage.faults.arm("changed_host_key")
        assert stage.status(deployment) == "running"  # it only now runs: nothing to change yet
        assert stage.status(deployment) == "running"
        assert stage.hosts.log == ["start web-0", "new host keys web-0"]

    def test_an_unknown_state_shows_once(self, stage: Stage) -> None:
        deployment = stage.order()
        stage.faults.arm("unknown_state")
        assert [stage.status(deployment) for _ in range(2)] == ["migrating", "running"]

    def test_a_late_sshd_does_not_keep_the_cloud_from_saying_running(self, stage: Stage) -> None:
        stage.faults.arm("late_ssh", seconds=60)
        stage.hosts.boots_as = Presence.UP
        assert stage.status(stage.order()) == "running"

    def test_a_late_list(self, stage: Stage) -> None:
        stage.faults.arm("late_listing", seconds=10)
        deployment = stage.order()
        assert stage.sandbox.find("active") == []
        assert stage.status(deployment) == "running"
        stage.now += 10
        assert len(stage.sandbox.find("active")) == 1


class TestKeys:
    def test_registered_keys_let_orders_name_them(self, stage: Stage) -> None:
        key = stage.sandbox.add_key("me", "ssh-ed25519 AAA me@home")
        assert (key["publicKey"], stage.sandbox.key(str(key["id"]))) == ("ssh-ed25519 AAA", key)
        assert stage.sandbox.get(stage.order(ssh_public_key=None, sshKeyId=key["id"]))["sshKeyId"] == key["id"]

    def test_fingerprints_are_as_useless_as_the_real_clouds(self, stage: Stage) -> None:
        first, second = (stage.sandbox.add_key("me", f"ssh-ed25519 {body}") for body in ("AAA", "BBB"))
        assert first["fingerprint"] == second["fingerprint"]

    def test_removing(self, stage: Stage) -> None:
        key = str(stage.sandbox.add_key("me", "ssh-ed25519 AAA")["id"])
        assert stage.sandbox.remove_key(key) == {"success": True}
        for ask in (stage.sandbox.remove_key, stage.sandbox.key):
            with pytest.raises(Refusal) as caught:
                ask(key)
            assert caught.value.status == 404

    def test_what_is_no_key(self, stage: Stage) -> None:
        with pytest.raises(Refusal, match="not an OpenSSH public key"):
            stage.sandbox.add_key("me", "AAA")


class TestSettings:
    def test_the_balance(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path / "home", Settings(balance_usd=7.5))
        assert stage.sandbox.balance()["teams"][0]["balance"] == 7.5  # type: ignore[index]

    def test_whether_hosts_are_real_does_not_change_under_living_machines(self, stage: Stage) -> None:
        deployment = stage.order()
        with pytest.raises(InvalidInput, match="contract_only"):
            configure(stage.home, Settings(contract_only=True))
        configure(stage.home, Settings(deploy_seconds=1.0))
        stage.sandbox.terminate(deployment)
        configure(stage.home, Settings(contract_only=True))
