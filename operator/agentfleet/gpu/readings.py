"""What is known of GPUs after one look, and who holds them, in terms that neither NVML nor DCGM owns. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Source = Literal["nvml", "dcgm"]


@dataclass(frozen=True, slots=True)
class Device:
    """A whole GPU or a MIG device."""

    uuid: str
    """GPU-… or MIG-…; DCGM names a MIG device by its GPU's UUID and `instance`."""
    gpu: str
    """NVML's index of the GPU, also for its MIG devices."""
    model: str
    minor: int | None = None
    """N of the GPU's /dev/nvidiaN."""
    parent: str = ""
    """A MIG device's GPU, by UUID."""
    profile: str = ""
    """A MIG device's profile: 1g.10gb."""
    instance: str = ""
    """A MIG device's GPU instance."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A container that was given a device, or shares of one (time-slicing, MPS)."""

    namespace: str
    pod: str
    container: str
    shares: int = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """One device at one look."""

    device: Device
    up: bool
    """False where it does not answer: lost from the bus, or in need of a reset."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Measure → value (names.py); what is not known is absent."""
    unsupported: tuple[str, ...] = ()
    """Measures that this device does not have, which is no failure: utilisation under MIG, ECC of a desktop GPU."""
    holders: tuple[Holder, ...] = ()
    """As the source itself says it (DCGM); where the kubelet answers, its word counts instead."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed in a look."""

    call: str
    error: str


@dataclass(frozen=True, slots=True)
class Look:
    """All devices of a node at one moment."""

    at: float
    """Seconds since the epoch."""
    source: Source
    readings: tuple[Reading, ...] = ()
    problems: tuple[str, ...] = ()
    """What is wrong, for humans; the first says why there are no readings, where there are none."""
    failures: tuple[Failure, ...] = ()
    answered: bool = True
    """False where the source as a whole could not be read."""
    needs_new_container: bool = False
    """Only a container made anew can help: the driver's library is put into it when it is created."""
    driver: str = ""
    xids: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(UUID, XID) → how many the driver has reported to us."""


class GpuSource(Protocol):
    """Where looks come from. `look` never raises for what a GPU, a driver or a server does."""

    async def look(self) -> Look:
        """All devices now."""
        ...

    async def close(self) -> None:
        """Let go of driver and connections."""
        ...
