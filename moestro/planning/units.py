"""Units. GiB is 2**30 bytes, what CUDA and vLLM report; GB is 10**9 bytes, what data sheets and the seed mean."""

GIB = float(1 << 30)
GB = 1e9


def gib(size: float) -> float:
    """Bytes as GiB."""
    return size / GIB


def gib_bytes(size: float) -> float:
    """GiB as bytes."""
    return size * GIB


def gb_to_gib(size: float) -> float:
    """GB as GiB."""
    return size * GB / GIB


def gib_to_gb(size: float) -> float:
    """GiB as GB."""
    return size * GIB / GB
