"""Types of machines: EC2's data about them, and why one cannot run the image. Each rule is a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import UsageError
from .client import Cloud

Found = dict[str, Any]
# torch 2.13 brings CUDA 13, and the image NVIDIA's open kernel modules: both begin with the GPUs of 2018 (Turing).
# https://docs.nvidia.com/cuda/archive/13.0.0/cuda-toolkit-release-notes, "Deprecated Architectures"
TOO_OLD_GPUS = {"K520", "K80", "M60", "V100"}
X86 = "x86_64"
GPU_TYPES = ("g4dn.xlarge", "g5.xlarge", "g6.xlarge")
# Two cores each, which is what the update of one agent uses; a vCPU of Intel's is half a core.
PROCESSOR_TYPES = ("c7a.large", "m7a.large", "c7i.xlarge")
# The trainer, its replay buffer and the system of a default run.
LEAST_MEMORY_MIB = 3_800
LEAST_VCPUS = 2


def describe_types(cloud: Cloud, kinds: Sequence[str]) -> dict[str, Found]:
    """Return what EC2 says of each type; UsageError for a type that does not exist."""
    filters = [{"Name": "instance-type", "Values": list(kinds)}]
    rows = cloud.pages("ec2", "describe_instance_types", "InstanceTypes", Filters=filters)
    found = {row["InstanceType"]: row for row in rows}
    for kind in kinds:
        if kind not in found:
            raise UsageError(
                f"aws.instance_types: {kind!r} is no instance type of {cloud.aws.region}",
                next_step=f"Types with a GPU: {', '.join(GPU_TYPES)} and larger ones; "
                f"without: {', '.join(PROCESSOR_TYPES)}.",
            )
    return {kind: found[kind] for kind in kinds}


def vcpus(types: dict[str, Found]) -> dict[str, int]:
    """Return the vCPUs of each type."""
    return {kind: int(one["VCpuInfo"]["DefaultVCpus"]) for kind, one in types.items()}


def cores(types: dict[str, Found]) -> dict[str, int]:
    """Return the cores of each type: two vCPUs may be the threads of one core."""
    vcpu_counts = vcpus(types)
    return {
        kind: int(one["VCpuInfo"].get("DefaultCores") or max(vcpu_counts[kind] // 2, 1))
        for kind, one in types.items()
    }


def check_types(types: dict[str, Found], image: Found, market: str) -> None:
    """Raise UsageError for types on which the image cannot run, or that EC2 does not sell so, with every reason."""
    reasons = {
        kind: why for kind, one in types.items() if (why := why_not(one, image) or _market(one, market))
    }
    if reasons:
        fitting = [kind for kind in types if kind not in reasons] or list(GPU_TYPES)
        raise UsageError(
            "aws.instance_types: " + "; ".join(f"{kind} {why}" for kind, why in reasons.items()),
            next_step=f"Leave {'it' if len(reasons) == 1 else 'them'} out. Fitting are {', '.join(fitting)}.",
        )


def why_not(one: Found, image: Found) -> str:
    """Return why the image cannot run on a type, "" where it can."""
    return next((why for rule in RULES if (why := rule(one, image))), "")


# --- rules: EC2's data about a type and about the image → why they do not fit together ---
def _bare_metal(one: Found, _: Found) -> str:
    return (
        "is bare metal: it takes minutes longer to boot, and the image was never tried there"
        if one.get("BareMetal")
        else ""
    )


def _architecture(one: Found, image: Found) -> str:
    of_image = image.get("Architecture", X86)
    known = one.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
    return "" if of_image in known else f"runs {', '.join(known)}, the image {of_image}"


def _gpu(one: Found, _: Found) -> str:
    """Return why the GPU of a type does not serve; a type without any trains on its processor."""
    for gpu in one.get("GpuInfo", {}).get("Gpus", ()):
        name = f"{gpu.get('Manufacturer', '')} {gpu.get('Name', '')}".strip()
        if gpu.get("Manufacturer", "").upper() != "NVIDIA":
            return f"has a GPU of another maker than NVIDIA: {name}"
        if gpu.get("Name") in TOO_OLD_GPUS:
            return f"has a GPU that CUDA 13 does not know any more: {name}"
        if gpu.get("Count") == 0 or gpu.get("GpuPartitionSize", 1) < 1:
            return f"has a part of a GPU, which needs NVIDIA's GRID driver: {name}"
    return ""


def _accelerator(one: Found, _: Found) -> str:
    """Return why a type is paid for an accelerator that the trainer does not use."""
    found = [key for key in ("NeuronInfo", "InferenceAcceleratorInfo", "FpgaInfo") if one.get(key)]
    named = ", ".join(key.removesuffix("Info") for key in found)
    return f"has an accelerator that the trainer does not use: {named}" if found else ""


def _size(one: Found, _: Found) -> str:
    count, memory = int(one["VCpuInfo"]["DefaultVCpus"]), one.get("MemoryInfo", {}).get("SizeInMiB")
    if count < LEAST_VCPUS:
        return f"has {count} vCPU, the trainer needs {LEAST_VCPUS}"
    if memory is not None and memory < LEAST_MEMORY_MIB:
        return f"has {memory} MiB of memory, the trainer needs {LEAST_MEMORY_MIB}"
    return ""


def _virtualization(one: Found, image: Found) -> str:
    of_image = image.get("VirtualizationType", "hvm")
    known = one.get("SupportedVirtualizationTypes", (of_image,))
    return "" if of_image in known else f"takes {', '.join(known)} images, this one is {of_image}"


def _boot_mode(one: Found, image: Found) -> str:
    """Compare boot modes; an image that prefers UEFI, or says nothing, boots either way."""
    if image.get("BootMode", "uefi-preferred") == "uefi-preferred":
        return ""
    known = one.get("SupportedBootModes", (image["BootMode"],))
    return (
        "" if image["BootMode"] in known else f"boots by {', '.join(known)}, the image by {image['BootMode']}"
    )


def _network(one: Found, image: Found) -> str:
    needed = one.get("NetworkInfo", {}).get("EnaSupport") == "required"
    return (
        "needs an image with ENA, which this one has not"
        if needed and image.get("EnaSupport") is False
        else ""
    )


def _tpm(one: Found, image: Found) -> str:
    needs = image.get("TpmSupport") == "v2.0"
    return (
        "has no NitroTPM, which the image asks for"
        if needs and one.get("NitroTpmSupport") != "supported"
        else ""
    )


def _encryption(one: Found, _: Found) -> str:
    unable = one.get("EbsInfo", {}).get("EncryptionSupport") == "unsupported"
    return "takes no encrypted disk" if unable else ""


RULES: tuple[Callable[[Found, Found], str], ...] = (
    _bare_metal,
    _architecture,
    _gpu,
    _accelerator,
    _size,
    _virtualization,
    _boot_mode,
    _network,
    _tpm,
    _encryption,
)


def _market(one: Found, market: str) -> str:
    known = one.get("SupportedUsageClasses", (market,))
    return "" if market in known else f"is not sold as {market} capacity, only as {', '.join(known)}"
