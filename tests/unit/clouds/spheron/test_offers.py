from hypothesis import given
from hypothesis import strategies as st

from moestro.clouds.base import OfferQuery, Purchase
from moestro.clouds.spheron.offers import candidates, choose_image, price
from moestro.clouds.spheron.wire import OfferWire
from tests.unit.clouds.spheron.server import offer

QUERY = OfferQuery("H100_PCIE", 2)


def wire(**changes: object) -> OfferWire:
    return OfferWire.model_validate(offer(**changes))


class TestCandidates:
    def test_the_fields_of_an_offer(self) -> None:
        [found] = candidates("H100_PCIE", [wire(interconnectType="PCIe", minimumRuntimeMinutes=60)], QUERY)
        assert (found.provider, found.offer_id, found.region) == (
            "massed-compute",
            "US Central 1::h100::2gpu",
            "us-central-2",
        )
        assert (found.gpu_type, found.gpu_count, found.gpu_memory_gb) == ("H100_PCIE", 2, 80)
        assert (found.usd_per_hour, found.image, found.purchase) == (4.5, "Ubuntu Server 22.04", Purchase.ON_DEMAND)
        assert (found.vcpus, found.memory_gb, found.storage_gb) == (32, 256, 1000)
        assert (found.interconnect, found.minimum_runtime_minutes) == ("PCIe", 60)

    def test_unusable_offers_are_dropped(self) -> None:
        unusable = [
            wire(instanceType="SPOT"),
            wire(instanceType="CLUSTER"),
            wire(gpuCount=1),
            wire(available=False),
            wire(maintenance=True),
            wire(price=None),
            wire(clusters=[]),
            wire(clusters=None),
            wire(os_options=[]),
            wire(os_options=["Windows Server 2022"]),
        ]
        assert candidates("H100_PCIE", unusable, QUERY) == []

    def test_one_candidate_a_region_cheapest_first_then_in_a_fixed_order(self) -> None:
        offers = [
            wire(price=5.0, clusters=["b", "a"]),
            wire(price=4.0, clusters=["c"], provider="voltage-park"),
            wire(price=4.0, clusters=["d"], provider="sesterce"),
        ]
        found = candidates("H100_PCIE", offers, QUERY)
        assert [offer.region for offer in found] == ["d", "c", "a", "b"]

    def test_the_old_region_field_serves_where_clusters_are_missing(self) -> None:
        [found] = candidates("H100_PCIE", [wire(clusters=None, region="Iceland 1")], QUERY)
        assert found.region == "Iceland 1"

    def test_the_query_narrows_regions_providers_and_price(self) -> None:
        offers = [wire(clusters=["a", "b"]), wire(provider="sesterce", clusters=["b"], price=9.0)]
        regions = candidates("H100_PCIE", offers, OfferQuery("H100_PCIE", 2, regions=["b"]))
        assert [(offer.provider, offer.region) for offer in regions] == [("massed-compute", "b"), ("sesterce", "b")]
        assert [
            o.provider for o in candidates("H100_PCIE", offers, OfferQuery("H100_PCIE", 2, providers=["sesterce"]))
        ] == ["sesterce"]
        cheap = candidates("H100_PCIE", offers, OfferQuery("H100_PCIE", 2, max_usd_per_hour=4.5))
        assert {offer.provider for offer in cheap} == {"massed-compute"}

    def test_a_spot_query_brings_spot_offers_at_the_spot_price(self) -> None:
        offers = [wire(), wire(instanceType="SPOT", price=4.0, spot_price=1.5), wire(instanceType="SPOT", price=2.0)]
        found = candidates("H100_PCIE", offers, OfferQuery("H100_PCIE", 2, purchase=Purchase.SPOT))
        assert [offer.usd_per_hour for offer in found] == [1.5, 2.0]

    @given(
        st.lists(
            st.builds(
                wire,
                price=st.none() | st.floats(0, 50),
                spot_price=st.none() | st.floats(0, 50),
                instanceType=st.sampled_from(["SPOT", "DEDICATED", "CLUSTER"]),
                available=st.booleans(),
                maintenance=st.none() | st.booleans(),
                gpuCount=st.integers(1, 3),
                clusters=st.none() | st.lists(st.sampled_from("abc"), unique=True),
            )
        ),
        st.randoms(),
    )
    def test_what_is_found_satisfies_the_query_whatever_the_catalogues_order(self, offers, random) -> None:  # type: ignore[no-untyped-def]
        query = OfferQuery("H100_PCIE", 2, max_usd_per_hour=25.0)
        found = candidates("H100_PCIE", offers, query)
        prices = [offer.usd_per_hour for offer in found]
        assert prices == sorted(prices)
        assert all(cost <= 25.0 for cost in prices)
        assert all(offer.purchase is Purchase.ON_DEMAND and offer.gpu_count == 2 and offer.region for offer in found)
        random.shuffle(offers)
        assert candidates("H100_PCIE", offers, query) == found


class TestPrice:
    def test_a_dedicated_offers_spot_price_means_nothing(self) -> None:
        assert price(wire(price=4.0, spot_price=1.0)) == 4.0


class TestChooseImage:
    def test_the_wanted_image_or_none(self) -> None:
        options = ["ubuntu-22.04", "Ubuntu 24.04 (CUDA 13)"]
        assert choose_image(options, "ubuntu-22.04") == "ubuntu-22.04"
        assert choose_image(options, "ubuntu-20.04") is None

    def test_cuda_before_a_newer_system_before_a_newer_cuda(self) -> None:
        assert choose_image(["Ubuntu 24.04", "Ubuntu 22.04 + CUDA 12.8"], None) == "Ubuntu 22.04 + CUDA 12.8"
        assert choose_image(["Ubuntu 22.04 CUDA 13.0", "Ubuntu 24.04 CUDA 12.8"], None) == "Ubuntu 24.04 CUDA 12.8"
        options = ["ubuntu22.04_cuda12.8_shade_os", "Ubuntu 22.04 + CUDA 13.0 Open + Docker", "Ubuntu 22.04 CUDA 9.2"]
        assert choose_image(options, None) == "Ubuntu 22.04 + CUDA 13.0 Open + Docker"

    def test_without_cuda_the_system_decides(self) -> None:
        options = ["Debian 12", "Ubuntu 20.04", "Ubuntu Server 22.04", "Windows Server 2022", "Rocky 9"]
        assert choose_image(options, None) == "Ubuntu Server 22.04"
        assert choose_image(["Windows Server 2022", "Rocky 9"], None) == "Rocky 9"
        assert choose_image(["Windows Server 2022 CUDA 12"], None) is None

    @given(st.permutations(["Ubuntu 24.04", "Ubuntu 24.04 (CUDA 13)", "Ubuntu 24.04 (CUDA 13) ", "Debian 12"]))
    def test_the_order_of_the_options_does_not_matter(self, options: list[str]) -> None:
        assert choose_image(options, None) == "Ubuntu 24.04 (CUDA 13)"
