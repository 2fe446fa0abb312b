import httpx
import pytest

from moestro.clouds.base import Balance, InstanceState, OfferQuery, Purchase, SshKey
from moestro.errors import CloudError, InsufficientFunds, NoCapacity, NotFound, NotYetTerminable
from tests.unit.clouds.clock import Clock
from tests.unit.clouds.spheron.server import BALANCE, ORDER, Server, catalogue, deployment, offer, reply

ONE = "/api/deployments/dep-1"
WAIT = Clock().wait()


class TestOffers:
    def test_groups_of_other_types_are_not_even_validated(self) -> None:
        broken = {"gpuType": "L40S_PCIE", "offers": [{"nonsense": True}]}
        page = catalogue(offer()) | {"data": [broken, {"gpuType": "H100_PCIE", "offers": [offer()]}]}
        server = Server().on("GET", "/api/gpu-offers", reply(page))
        assert len(server.client().list_offers(OfferQuery("H100_PCIE", 2), WAIT)) == 1

    def test_a_broken_offer_of_our_type_is_named(self) -> None:
        server = Server().on("GET", "/api/gpu-offers", reply(catalogue(offer(gpuCount="many"))))
        with pytest.raises(CloudError, match="gpu-offers answered outside its contract: gpuCount: Input should be"):
            server.client().list_offers(OfferQuery("H100_PCIE", 2), WAIT)

    def test_all_pages_are_read(self) -> None:
        pages = [
            catalogue(offer(offerId="a", price=5.0), totalPages=2),
            catalogue(offer(offerId="b", price=4.0), page=2, totalPages=2),
        ]
        server = Server().on("GET", "/api/gpu-offers", *map(reply, pages))
        found = server.client().list_offers(OfferQuery("H100_PCIE", 2, purchase=Purchase.ON_DEMAND), WAIT)
        assert [offer.offer_id for offer in found] == ["b", "a"]
        sent = [dict(request.url.params) for request in server.requests]
        assert sent == [{"page": str(page), "limit": "100", "instanceType": "DEDICATED"} for page in (1, 2)]


class TestMoney:
    def test_the_current_teams_balance(self) -> None:
        server = Server().on("GET", "/api/balance", reply(BALANCE))
        assert server.client().balance(WAIT) == Balance(usd=42.5, minimum_usd=3.0)

    def test_a_cloud_that_hides_it(self) -> None:
        assert Server().on("GET", "/api/balance", reply({}, 404)).client().balance(WAIT) is None


class TestOrders:
    def test_the_body_has_the_offers_terms_the_name_and_the_team(self) -> None:
        server = _with_team().on("POST", "/api/deployments", reply(deployment(status="deploying"), 201))
        made = server.client().create_instance(ORDER, WAIT)
        assert made.state is InstanceState.PENDING
        assert server.bodies("POST") == [
            {
                "provider": "massed-compute",
                "offerId": "US Central 1::h100::2gpu",
                "gpuType": "H100_PCIE",
                "gpuCount": 2,
                "region": "us-central-2",
                "operatingSystem": "Ubuntu Server 22.04",
                "instanceType": "SPOT",
                "sshKeyId": "key-1",
                "name": "web-0",
                "teamId": "team-now",
            }
        ]

    @pytest.mark.parametrize(
        "teams", [[{"id": "t1", "name": "One"}], {"teams": [{"id": "t1"}]}, {"data": [{"id": "t1"}]}]
    )
    def test_the_first_team_serves_where_the_balance_is_hidden(self, teams: object) -> None:
        server = Server().on("GET", "/api/balance", reply({}, 404)).on("GET", "/api/teams", reply(teams))
        server.on("POST", "/api/deployments", reply(deployment(), 200))
        server.client().create_instance(ORDER, WAIT)
        assert server.bodies("POST")[0]["teamId"] == "t1"

    def test_no_team_at_all(self) -> None:
        server = Server().on("GET", "/api/balance", reply({}, 404)).on("GET", "/api/teams", reply([]))
        with pytest.raises(CloudError, match="no team"):
            server.client().create_instance(ORDER, WAIT)
        assert server.paths("POST") == []

    @pytest.mark.parametrize(
        ("status", "message", "kind"),
        [
            (400, "Not Enough Stock of RTX-A4000. Unable to launch virtual-machines.", NoCapacity),
            (400, "Insufficient capacity in this region", NoCapacity),
            (400, "Insufficient balance", InsufficientFunds),
            (402, "Payment required", InsufficientFunds),
            (400, "Team ID is required for authenticated deployments", CloudError),
        ],
    )
    def test_refusals_by_what_can_be_done(self, status: int, message: str, kind: type[CloudError]) -> None:
        server = _with_team().on("POST", "/api/deployments", reply({"error": message}, status))
        with pytest.raises(CloudError, match=message) as caught:
            server.client().create_instance(ORDER, WAIT)
        assert type(caught.value) is kind


class TestMachines:
    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("deploying", InstanceState.PENDING),
            ("running", InstanceState.RUNNING),
            ("stopped", InstanceState.STOPPED),
            ("failed", InstanceState.FAILED),
            ("terminated", InstanceState.GONE),
            ("terminated-provider", InstanceState.PREEMPTED),
        ],
    )
    def test_states(self, status: str, state: InstanceState) -> None:
        server = Server().on("GET", ONE, reply(deployment(status=status)))
        assert server.client().get_instance("dep-1", WAIT).state is state

    def test_an_unknown_state_is_not_guessed(self) -> None:
        server = Server().on("GET", ONE, reply(deployment(status="hibernating")))
        with pytest.raises(CloudError, match="web-0 is in the state 'hibernating'"):
            server.client().get_instance("dep-1", WAIT)

    @pytest.mark.parametrize(
        ("changes", "login"),
        [
            ({}, ("ubuntu", 2222)),
            ({"sshPort": None}, ("ubuntu", 2222)),
            ({"sshPort": None, "sshCommand": None}, ("ubuntu", 22)),
            ({"user": None, "sshCommand": "ssh admin@203.0.113.7", "sshPort": None}, ("admin", 22)),
            ({"user": None, "sshCommand": None, "sshPort": 2200}, ("ubuntu", 2200)),
            ({"user": "debian", "sshCommand": "ssh root@203.0.113.7"}, ("debian", 2222)),
        ],
    )
    def test_the_login_is_put_together_from_what_is_there(self, changes: dict[str, object], login: object) -> None:
        machine = Server().on("GET", ONE, reply(deployment(**changes))).client().get_instance("dep-1", WAIT)
        assert (machine.ssh_user, machine.ssh_port) == login

    def test_a_bare_minimum_of_fields_is_enough(self) -> None:
        bare = {
            "id": "d",
            "status": "deploying",
            "gpuCount": 1,
            "instanceType": "SPOT",
            "name": None,
            "ipAddress": None,
        }
        machine = Server().on("GET", ONE, reply(bare)).client().get_instance("dep-1", WAIT)
        assert (machine.address, machine.ssh_port, machine.ssh_user, machine.name) == (None, 22, "ubuntu", "")
        assert machine.purchase is Purchase.SPOT

    def test_a_missing_field_is_named(self) -> None:
        server = Server().on("GET", ONE, reply({"id": "dep-1", "gpuCount": 1, "instanceType": "SPOT"}))
        with pytest.raises(
            CloudError, match=r"GET /api/deployments/dep-1 answered outside its contract: status: Field"
        ):
            server.client().get_instance("dep-1", WAIT)

    def test_renaming(self) -> None:
        server = Server().on("PATCH", ONE, reply(deployment(name="new")))
        assert server.client().rename_instance("dep-1", "new", WAIT).name == "new"
        assert server.bodies("PATCH") == [{"name": "new"}]


class TestLists:
    @pytest.mark.parametrize(
        "envelope",
        [
            lambda rows: rows,
            lambda rows: {"deployments": rows, "totalPages": 1},
            lambda rows: {"data": rows},
        ],
    )
    def test_every_envelope(self, envelope) -> None:  # type: ignore[no-untyped-def]
        rows = [deployment(id="a"), deployment(id="b", name="other")]
        server = Server().on("GET", "/api/deployments", reply(envelope(rows)))
        assert [machine.id for machine in server.client().find_instances("web-0", WAIT)] == ["a"]
        assert [machine.id for machine in server.client().list_instances(WAIT)] == ["a", "b"]

    def test_no_envelope_at_all(self) -> None:
        server = Server().on("GET", "/api/deployments", reply({"error": "none of your business"}))
        with pytest.raises(CloudError, match="expected a list"):
            server.client().list_instances(WAIT)

    def test_an_empty_reply_is_not_an_empty_list(self) -> None:
        server = Server().on("GET", "/api/deployments", httpx.Response(200))
        with pytest.raises(CloudError, match="expected a list"):
            server.client().list_instances(WAIT)

    def test_ended_machines_keep_their_names_and_are_not_found(self) -> None:
        ended = ["failed", "terminated", "terminated-provider"]
        rows = [deployment(id=status, status=status) for status in [*ended, "deploying", "stopped"]]
        server = Server().on("GET", "/api/deployments", reply(rows))
        assert [machine.id for machine in server.client().find_instances("web-0", WAIT)] == ["deploying", "stopped"]

    def test_an_unknown_state_of_another_machine_does_not_hide_ours(self) -> None:
        rows = [deployment(id="a", name="other", status="hibernating"), deployment(id="b")]
        server = Server().on("GET", "/api/deployments", reply(rows))
        assert [machine.id for machine in server.client().find_instances("web-0", WAIT)] == ["b"]
        with pytest.raises(CloudError, match="hibernating"):
            server.client().list_instances(WAIT)

    def test_full_pages_are_followed_until_a_short_one(self) -> None:
        pages = [[deployment(id=f"{page}-{row}") for row in range(100)] for page in range(2)]
        server = Server().on("GET", "/api/deployments", *map(reply, [*pages, [deployment(id="last")]]))
        assert len(server.client().list_instances(WAIT)) == 201
        assert [request.url.params["page"] for request in server.requests] == ["1", "2", "3"]

    def test_a_cloud_that_caps_the_page_size_says_so(self) -> None:
        pages = [{"deployments": [deployment(id=f"{page}")], "limit": 1} for page in range(3)]
        server = Server().on("GET", "/api/deployments", *map(reply, [*pages, {"deployments": [], "limit": 1}]))
        assert len(server.client().list_instances(WAIT)) == 3

    def test_total_pages_decides_where_it_is_said(self) -> None:
        pages = [{"data": [deployment(id=f"{page}")], "totalPages": 2} for page in range(2)]
        server = Server().on("GET", "/api/deployments", *map(reply, pages))
        assert len(server.client().list_instances(WAIT)) == 2
        assert len(server.requests) == 2

    def test_a_cloud_that_ignores_pages_does_not_hold_us_forever(self) -> None:
        rows = [deployment(id=str(row)) for row in range(150)]
        server = Server().on("GET", "/api/deployments", reply(rows))
        assert len(server.client().list_instances(WAIT)) == 150
        assert len(server.requests) == 2


class TestTermination:
    @pytest.mark.parametrize(
        "answer",
        [
            reply({"message": "Instance destruction initiated", "deployment": {"id": "dep-1"}}),
            httpx.Response(200),
            httpx.Response(204),
            reply({"error": "Deployment not found"}, 404),
            reply({"error": "Cannot terminate instance", "currentStatus": "terminated", "canTerminate": False}, 400),
            reply({"error": "Cannot terminate instance", "currentStatus": "terminated-provider"}, 400),
            reply({"error": "Cannot terminate instance", "currentStatus": "failed", "canTerminate": False}, 400),
            reply({"error": "x", "message": "Instance has already been terminated."}, 400),
        ],
    )
    def test_done_or_done_before(self, answer: httpx.Response) -> None:
        server = Server().on("DELETE", ONE, answer)
        server.client().delete_instance("dep-1", WAIT)
        assert len(server.requests) == 1

    def test_the_minimum_runtime_is_in_the_error(self) -> None:
        with pytest.raises(NotYetTerminable, match="Time remaining: 7 minutes") as caught:
            Server().on("DELETE", ONE, _too_early(timeRemaining=7)).client().delete_instance("dep-1", WAIT)
        assert caught.value.wait_seconds == 420.0

    def test_the_last_minute_counts_as_zero_and_is_waited_for_in_small_steps(self) -> None:
        with pytest.raises(NotYetTerminable) as caught:
            Server().on("DELETE", ONE, _too_early(timeRemaining=0)).client().delete_instance("dep-1", WAIT)
        assert caught.value.wait_seconds == 5.0

    def test_a_refusal_without_a_time_is_asked_for_it(self) -> None:
        server = (
            Server()
            .on("DELETE", ONE, _too_early())
            .on("GET", f"{ONE}/can-terminate", reply({"canTerminate": False, "timeRemaining": 3, "minimumRuntime": 20}))
        )
        with pytest.raises(NotYetTerminable) as caught:
            server.client().delete_instance("dep-1", WAIT)
        assert caught.value.wait_seconds == 180.0

    def test_any_other_refusal_is_an_error(self) -> None:
        server = Server().on("DELETE", ONE, reply({"error": "Cannot terminate instance", "canTerminate": False}, 400))
        with pytest.raises(CloudError, match="Cannot terminate instance") as caught:
            server.client().delete_instance("dep-1", WAIT)
        assert type(caught.value) is CloudError

    def test_asking_twice_is_harmless_so_a_5xx_is_asked_again(self) -> None:
        server = Server().on("DELETE", ONE, reply({}, 500), reply({"error": "x", "currentStatus": "terminated"}, 400))
        server.client().delete_instance("dep-1", WAIT)
        assert len(server.requests) == 2


class TestSshKeys:
    def test_keys_without_their_text_are_looked_up(self) -> None:
        listed = [{"id": "a", "name": "A", "publicKey": "ssh-ed25519 AAA me@home"}, {"_id": "b", "name": "B"}]
        server = Server().on("GET", "/api/ssh-keys", reply(listed))
        server.on("GET", "/api/ssh-keys/b", reply({"_id": "b", "name": "B", "publicKey": "ssh-rsa BBB"}))
        assert server.client().list_ssh_keys(WAIT) == [
            SshKey("a", "A", "ssh-ed25519 AAA"),
            SshKey("b", "B", "ssh-rsa BBB"),
        ]

    def test_a_key_that_vanishes_between_two_questions_matches_nothing(self) -> None:
        server = Server().on("GET", "/api/ssh-keys", reply([{"id": "b", "name": "B"}]))
        server.on("GET", "/api/ssh-keys/b", reply({}, 404))
        assert server.client().list_ssh_keys(WAIT) == [SshKey("b", "B", "")]

    def test_registering(self) -> None:
        server = _with_team().on("POST", "/api/ssh-keys", reply({"_id": "c"}, 201))
        made = server.client().create_ssh_key("C", "ssh-ed25519 CCC me@home", WAIT)
        assert made == SshKey("c", "C", "ssh-ed25519 CCC")
        assert server.bodies("POST") == [{"name": "C", "publicKey": "ssh-ed25519 CCC me@home", "teamId": "team-now"}]

    def test_a_refused_registration(self) -> None:
        server = _with_team().on("POST", "/api/ssh-keys", reply({"error": "bad key"}, 400))
        with pytest.raises(CloudError, match="bad key"):
            server.client().create_ssh_key("C", "ssh-ed25519 CCC", WAIT)

    @pytest.mark.parametrize("answer", [reply({"success": True}), httpx.Response(200), reply({}, 404)])
    def test_removing(self, answer: httpx.Response) -> None:
        Server().on("DELETE", "/api/ssh-keys/a", answer).client().delete_ssh_key("a", WAIT)

    def test_a_removal_that_fails_is_said(self) -> None:
        server = Server().on("DELETE", "/api/ssh-keys/a", reply({"error": "in use"}, 409))
        with pytest.raises(CloudError, match="in use") as caught:
            server.client().delete_ssh_key("a", WAIT)
        assert not isinstance(caught.value, NotFound)


def _with_team() -> Server:
    return Server().on("GET", "/api/balance", reply(BALANCE))


def _too_early(**fields: object) -> httpx.Response:
    message = f"Instance must run for at least 20 minutes. Time remaining: {fields.get('timeRemaining')} minutes."
    return reply({"error": "Minimum runtime not met", "message": message, "canTerminate": False} | fields, 400)
