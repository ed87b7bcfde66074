"""Regions of Amazon's other clouds are refused by name, before anything is asked."""

from __future__ import annotations

import importlib

import botocore.session
import pytest

from tests.cloud.fake_aws import Account
from tests.cloud.proxy import Front
from training.cloud.aws.partition import FOREIGN, check_partition
from training.errors import UsageError

SESSION = botocore.session.Session()
PARTITIONS = SESSION.get_component("data_loader").load_data("partitions")["partitions"]
REGIONS = [
    (region, one["id"])
    for one in PARTITIONS
    for region in {
        *(name for name in one["regions"] if "global" not in name),
        *SESSION.get_available_regions("ec2", partition_name=one["id"]),
    }
]


@pytest.mark.parametrize(("region", "partition"), sorted(REGIONS))
def test_every_region_that_botocore_knows_is_taken_or_refused_by_its_partition(
    region: str, partition: str
) -> None:
    if partition == "aws":
        check_partition(region)
    else:
        with pytest.raises(UsageError, match=rf"{region}.* \(partition {partition}\)"):
            check_partition(region)


def test_every_partition_that_botocore_knows_has_a_name() -> None:
    assert {partition for partition, _ in FOREIGN.values()} == {one["id"] for one in PARTITIONS} - {"aws"}


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_nothing_is_asked_in_another_partition(
    account: Account, region: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(account.folder)
    with Front(account.endpoint) as front:
        account._replace(endpoint=front.url).write_config(region=region)
        for command in ("doctor", "status", "up"):
            assert importlib.import_module("launch").main([command]) == 2
        assert front.asked == []
    told = capsys.readouterr().err
    assert told.count("error: ") == 3
    assert told.count(region) == 3
