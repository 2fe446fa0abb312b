"""What an order to the sandbox must say, and that it fits an offer."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moestro.clouds.sandbox import offers


class OrderBody(BaseModel):
    """The body of ``POST /api/deployments``, as far as the sandbox heeds it."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    provider: str
    offer_id: str
    gpu_type: str
    gpu_count: int
    region: str
    operating_system: str
    instance_type: str
    ssh_key_id: str | None = None
    ssh_public_key: str | None = Field(default=None, alias="ssh_public_key")
    team_id: str | None = None
    name: str = ""

    def problem(self) -> str | None:
        """Why this order cannot be fulfilled; ``None`` where it can. All its terms must come from one offer."""
        if self.team_id is None:
            return "Team ID is required for authenticated deployments"
        if self.team_id != offers.TEAM_ID:
            return "Team not found"
        if self.gpu_type != offers.GPU_TYPE:
            return "gpuType does not match the offer: omit it or pass the offer's gpuType"
        return None if any(self._fits(offer) for offer in offers.offers()) else "No offer has all of these terms"

    def terms(self) -> dict[str, object]:
        """The order's fields that its machine shows ever after."""
        kept = {"provider", "offer_id", "gpu_type", "gpu_count", "region", "operating_system", "instance_type"}
        return self.model_dump(by_alias=True, include=kept) | {"sshKeyId": self.ssh_key_id}

    def _fits(self, offer: dict[str, object]) -> bool:
        regions, systems = offer["clusters"], offer["os_options"]
        assert isinstance(regions, list)
        assert isinstance(systems, list)
        exact = (self.provider, self.offer_id, self.gpu_count, self.instance_type)
        offered = (offer["provider"], offer["offerId"], offer["gpuCount"], offer["instanceType"])
        return exact == offered and self.region in regions and self.operating_system in systems
