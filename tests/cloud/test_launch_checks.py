"""What EC2 would refuse is refused before a launch: types, quotas, images, disks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from moto.utilities.utils import load_resource

from tests.cloud.fake_aws import ROOT
from tests.cloud.golden import AWS, LAUNCH, SCOPE
from tests.cloud.service_model import problems_of_answer
from tests.support.scripted_launch import UBUNTU, Stage
from training import layout
from training.cloud.aws import aws_errors, fallback_prices, instance_types, inventory, launch_requests, quotas
from training.cloud.launch import basis
from training.config import AwsSettings
from training.config.text import legal_values
from training.errors import UsageError

# AWS's own answers, as moto ships them.
TYPES: dict[str, Any] = load_resource("ec2/resources/instance_types.json")


@pytest.fixture
def stage(credentials: None) -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


# --- types ---
def with_gpu(**gpu: Any) -> dict[str, Any]:
    return {**TYPES["g4dn.xlarge"], "GpuInfo": {"Gpus": [{"Manufacturer": "NVIDIA", "Count": 1, **gpu}]}}


@pytest.mark.parametrize(
    "kind", ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "gr6.4xlarge", "p4d.24xlarge", "p5.48xlarge"]
)
def test_a_type_with_a_newer_nvidia_gpu_runs_the_image(kind: str) -> None:
    assert instance_types.why_not(TYPES[kind], UBUNTU) == ""
    assert instance_types.why_not(TYPES[kind], {}) == "", "before an image is known"


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (TYPES["g5g.xlarge"], "runs arm64, the image x86_64"),
        (TYPES["mac1.metal"], "is bare metal"),
        (TYPES["g4dn.metal"], "is bare metal"),
        (with_gpu(Manufacturer="AMD", Name="Radeon Pro V520"), "another maker than NVIDIA: AMD Radeon Pro V520"),
        (with_gpu(Manufacturer="Habana", Name="Gaudi HL-205"), "another maker than NVIDIA: Habana"),
        (with_gpu(Name="V100"), "CUDA 13 does not know any more: NVIDIA V100"),
        (with_gpu(Name="K80"), "CUDA 13 does not know any more"),
        (TYPES["g6f.large"], "has a part of a GPU"),
        (with_gpu(Name="L4", GpuPartitionSize=0.125), "has a part of a GPU"),
        (TYPES["trn1.2xlarge"], "has an accelerator that the trainer does not use: Neuron"),
        (TYPES["t3.micro"], "has 1024 MiB of memory, the trainer needs 3800"),
        (TYPES["c7a.medium"], "has 1 vCPU, the trainer needs 2"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_type_on_which_the_image_cannot_run_is_refused_with_the_reason(one, says) -> None:
    ours = {
        key: one[key] for key in ("GpuInfo", "NeuronInfo", "MemoryInfo", "BareMetal") if key in one
    }  # the rest is AWS's own
    assert problems_of_answer("ec2", "describe_instance_types", {"InstanceTypes": [ours]}) == []
    assert says in instance_types.why_not(one, UBUNTU)


@pytest.mark.parametrize(
    ("kind", "image", "says"),
    [
        ("g4dn.xlarge", {"Architecture": "arm64"}, "runs x86_64, the image arm64"),
        ("p4d.24xlarge", {"BootMode": "uefi"}, "boots by legacy-bios, the image by uefi"),
        ("g5.xlarge", {"BootMode": "legacy-bios"}, ""),
        ("g4dn.xlarge", {"VirtualizationType": "paravirtual"}, "takes hvm images"),
        ("g4dn.xlarge", {"EnaSupport": False}, "needs an image with ENA"),
        ("p4d.24xlarge", {"TpmSupport": "v2.0"}, "has no NitroTPM"),
        ("g4dn.xlarge", {"TpmSupport": "v2.0"}, ""),
    ],
)
def test_what_the_image_needs_is_compared_with_the_type(kind: str, image: dict[str, Any], says: str) -> None:
    assert problems_of_answer("ec2", "describe_images", {"Images": [{**UBUNTU, **image}]}) == []
    found = instance_types.why_not(TYPES[kind], {**UBUNTU, **image})
    assert says in found
    assert bool(found) == bool(says)


@pytest.mark.parametrize("kind", [*instance_types.GPU_TYPES, *instance_types.PROCESSOR_TYPES, "t3.medium"])
def test_types_with_an_nvidia_gpu_and_types_with_none_can_run_the_image(kind: str) -> None:
    assert instance_types.why_not(TYPES[kind], UBUNTU) == ""


def test_the_types_that_are_offered_without_a_gpu_have_two_cores_and_a_price() -> None:
    types = {kind: TYPES[kind] for kind in instance_types.PROCESSOR_TYPES}
    assert set(instance_types.cores(types).values()) == {2}
    assert instance_types.cores({"c7i.large": TYPES["c7i.large"]}) == {"c7i.large": 1}, (
        "two threads of one core"
    )
    assert all(fallback_prices.on_demand(kind, "us-east-2") for kind in types)


def test_all_wrong_types_are_named_at_once_with_those_that_fit() -> None:
    types = {kind: TYPES[kind] for kind in ("g5g.xlarge", "g5.xlarge", "t3.micro")}
    with pytest.raises(UsageError, match=r"g5g.xlarge runs arm64.*; t3.micro has 1024 MiB") as caught:
        instance_types.check_types(types, UBUNTU, "spot")
    assert caught.value.next_step == "Leave them out. Fitting are g5.xlarge."


def test_a_type_that_is_not_sold_on_spot_is_refused_there_alone() -> None:
    types = {"g5.xlarge": {**TYPES["g5.xlarge"], "SupportedUsageClasses": ["on-demand"]}}
    with pytest.raises(UsageError, match=r"g5.xlarge is not sold as spot capacity, only as on-demand"):
        instance_types.check_types(types, UBUNTU, "spot")
    instance_types.check_types(types, UBUNTU, "on-demand")


# --- quotas ---
@pytest.mark.parametrize(
    ("kind", "on_demand", "spot"),
    [
        ("g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("gr6.4xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p3dn.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("c7i-flex.large", "L-1216C47A", "L-34B43A08"),
        ("m7a.large", "L-1216C47A", "L-34B43A08"),
        ("im4gn.large", "L-1216C47A", "L-34B43A08"),
        ("hpc7a.96xlarge", "L-F7808C92", ""),
        ("u-3tb1.56xlarge", "L-43DA4232", ""),
        ("u7i-12tb.224xlarge", "L-43DA4232", ""),
        ("x2idn.16xlarge", "L-7295265B", "L-E3A00192"),
        ("inf2.xlarge", "L-1945791B", "L-B5D1601B"),
        ("trn1.2xlarge", "L-2C3B7624", "L-6B0D517C"),
        ("dl1.24xlarge", "L-6E869C2A", "L-85EED4F7"),
        ("f2.6xlarge", "L-74FC7D96", "L-88CF9481"),
    ],
)
def test_a_type_is_judged_by_the_quota_of_its_own_family(kind: str, on_demand: str, spot: str) -> None:
    family = quotas.family(kind)
    assert family is not None
    assert (quotas.code(family, "on-demand"), quotas.code(family, "spot")) == (on_demand, spot)


def test_every_type_of_amazon_has_a_family_but_the_newest_and_macs() -> None:
    unknown = {re.match("[a-z]+[0-9]*", kind)[0] for kind in TYPES if quotas.family(kind) is None}  # type: ignore[index]
    assert unknown <= {"mac", "mac1", "mac2", "p6"}, "P6 is not on AWS's page: nothing is said of its quota"


def quota(stage: Stage, code: str, vcpus: float) -> None:
    stage.script("service-quotas").add_response(
        "get_service_quota", {"Quota": {"Value": vcpus}}, {"ServiceCode": "ec2", "QuotaCode": code}
    )


def test_a_quota_is_asked_for_once_a_family(stage: Stage) -> None:
    quota(stage, "L-3819A6DF", 64.0)
    read = quotas.read_quotas(stage.cloud, {"g4dn.xlarge": 4, "g5.xlarge": 4}, "spot")
    assert {str(one) for one in read.values()} == {"64 vCPUs of G and VT machines"}


def test_a_quota_that_fits_no_type_names_the_page_where_more_is_asked_for(stage: Stage) -> None:
    quota(stage, "L-7212CCBC", 8.0)
    quota(stage, "L-34B43A08", 0.0)
    sizes = {"p4d.24xlarge": 96}
    read = quotas.read_quotas(stage.cloud, sizes, "spot")
    with pytest.raises(
        aws_errors.QuotaTooLow, match="spot P machines in us-east-2 is 8 vCPUs, 96 are needed"
    ) as caught:
        quotas.check_quotas(stage.cloud, read, sizes, "us-east-2")
    assert "quotas/L-7212CCBC" in caught.value.next_step
    assert "without a GPU" not in caught.value.next_step, "that quota is 0 too"


def test_where_the_quota_of_gpus_is_zero_types_without_one_are_offered(stage: Stage) -> None:
    """As in every new account, whose quota of Standard machines is larger."""
    quota(stage, "L-3819A6DF", 0.0)
    quota(stage, "L-34B43A08", 5.0)
    sizes = {"g4dn.xlarge": 4}
    read = quotas.read_quotas(stage.cloud, sizes, "spot")
    with pytest.raises(aws_errors.QuotaTooLow) as caught:
        quotas.check_quotas(stage.cloud, read, sizes, "us-east-2")
    assert "Or train without a GPU (5 vCPUs of Standard" in caught.value.next_step
    assert "--set 'aws.instance_types=[c7a.large,m7a.large,c7i.xlarge]'" in caught.value.next_step


def test_a_type_that_its_quota_forbids_is_left_out_beside_one_that_fits(stage: Stage) -> None:
    quota(stage, "L-3819A6DF", 4.0)
    sizes = {"g4dn.xlarge": 4, "g4dn.2xlarge": 8}
    read = quotas.read_quotas(stage.cloud, sizes, "spot")
    assert list(quotas.check_quotas(stage.cloud, read, sizes, "us-east-2")) == ["g4dn.2xlarge"]


def test_a_quota_that_cannot_be_read_stops_nobody(stage: Stage) -> None:
    stage.script("service-quotas").add_client_error("get_service_quota", "NoSuchResourceException")
    read = quotas.read_quotas(stage.cloud, {"g5.xlarge": 4}, "spot")
    assert quotas.check_quotas(stage.cloud, read, {"g5.xlarge": 4}, "us-east-2") == {}
    assert str(read["g5.xlarge"]) == "could not be read of G and VT machines"


def test_a_family_without_a_quota_on_spot_is_not_asked_about(stage: Stage) -> None:
    assert quotas.read_quotas(stage.cloud, {"hpc7a.96xlarge": 192, "p6-b200.48xlarge": 192}, "spot") == {}


# --- images ---
def image(name: str, state: str, day: int, **more: Any) -> dict[str, Any]:
    tags = SCOPE.tags({"RequirementsSha256": "ab" * 32, "ImageInterface": str(layout.IMAGE_INTERFACE)})
    created = f"2026-11-{day:02}T00:00:00.000Z"
    return {**UBUNTU, "ImageId": name, "State": state, "CreationDate": created, "Tags": tags, **more}


def chosen(stage: Stage, *images: dict[str, Any]) -> str:
    stage.script("ec2").add_response("describe_images", {"Images": list(images)}, None)
    return str(inventory.image_for(stage.cloud, SCOPE, "ab" * 32)["ImageId"])


def test_the_newest_image_that_is_ready_is_taken(stage: Stage) -> None:
    images = image("ami-1", "available", 1), image("ami-2", "available", 2), image("ami-3", "pending", 3)
    assert chosen(stage, *images) == "ami-2"


def test_an_image_for_older_code_is_refused(stage: Stage) -> None:
    """Its units would train, fail in the finish unit, and the fleet would bring the next machine."""
    old = image("ami-1", "available", 1)
    old["Tags"] = SCOPE.tags({"RequirementsSha256": "ab" * 32})
    with pytest.raises(
        aws_errors.CloudError, match=rf"ami-1, has interface none, this code needs {layout.IMAGE_INTERFACE}"
    ):
        chosen(stage, old)
    assert chosen(stage, image("ami-2", "available", 2), old) == "ami-2"


def test_a_deprecated_image_is_taken_last(stage: Stage) -> None:
    old = image("ami-2", "available", 2, DeprecationTime="2026-11-30T00:00:00.000Z")
    to_come = {"DeprecationTime": "2027-11-30T00:00:00.000Z"}
    assert chosen(stage, image("ami-1", "available", 1, **to_come), old) == "ami-1"
    assert chosen(stage, old) == "ami-2"
    assert inventory.is_deprecated(stage.cloud, old)


@pytest.mark.parametrize(
    ("state", "says", "next_step"),
    [
        ("pending", "ami-9 is pending: EC2 is still making it", "Wait some minutes"),
        ("failed", "ami-9 is failed: disk full", "make ami"),
        ("disabled", "ami-9 is disabled", "make ami"),
    ],
)
def test_an_image_that_cannot_be_started_is_refused(
    stage: Stage, state: str, says: str, next_step: str
) -> None:
    why = {"StateReason": {"Message": "disk full"}} if state == "failed" else {}
    with pytest.raises(aws_errors.CloudError, match=says) as caught:
        chosen(stage, image("ami-9", state, 1, **why))
    assert next_step in caught.value.next_step


# --- disks ---
def test_a_disk_below_the_images_is_refused() -> None:
    with pytest.raises(UsageError, match=r"aws.volume_size_gb = 30 is below the 40 GB of the image ami-1"):
        basis.check_volume(AwsSettings(volume_size_gb=30), UBUNTU)
    basis.check_volume(AwsSettings(volume_size_gb=40), UBUNTU)


def test_the_smallest_legal_disk_is_that_of_the_smallest_image() -> None:
    text = (ROOT / "packer" / "variables.pkr.hcl").read_text(encoding="utf-8")
    found = re.search(r"var\.volume_size_gb >= (\d+)", text)
    assert found is not None
    assert legal_values(AwsSettings.model_fields["volume_size_gb"]).startswith(f"integer, {found[1]} to")


@pytest.mark.parametrize("rate", [None, 100, 300])
def test_the_speed_at_which_a_disk_is_filled_can_be_chosen(rate: int | None) -> None:
    aws = AWS.model_copy(update={"volume_initialization_mib_s": rate})
    template = launch_requests.launch_template(SCOPE, aws, LAUNCH._replace(root_device="/dev/xvda"))
    (disk,) = template["LaunchTemplateData"]["BlockDeviceMappings"]
    assert disk["DeviceName"] == "/dev/xvda", "the image's own root, or there would be two disks"
    assert disk["Ebs"].get("VolumeInitializationRate") == rate
