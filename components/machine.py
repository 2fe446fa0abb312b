"""A rented machine under the stack's own rules."""

from pulumi import Output, ResourceOptions

from components.identity import Identity
from components.resources import Instance
from moestro.settings import Settings


def rent(
    name: str, settings: Settings, identity: Identity, *, gpu_type: str, gpu_count: int, opts: ResourceOptions
) -> Instance:
    """Declare one machine. The purchase, regions, providers and price limit are the stack's."""
    cloud = settings.cloud
    return Instance(
        name,
        cloud=cloud.name,
        name=_machine_name(name, identity),
        gpu_type=gpu_type.upper(),
        gpu_count=gpu_count,
        purchase=settings.gpu.purchase,
        regions=list(cloud.regions),
        providers=list(cloud.providers),
        image=cloud.image,
        max_usd_per_hour=cloud.max_usd_per_hour,
        ssh_key_id=identity.ssh_key.key_id,
        public_key=identity.key_pair.public_key,
        opts=opts,
    )


def _machine_name(name: str, identity: Identity) -> Output[str]:
    return identity.prefixed(name)
