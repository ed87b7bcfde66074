"""Everything that can be wrong before a launch: one message, the next command, the right exit code, nothing made."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml

from tests.cloud import proxy
from tests.cloud.fake_aws import Account
from tests.cloud.proxy import Front
from training import layout
from training.cloud.aws import inventory, quotas
from training.cloud.aws.aws_errors import NoResponse
from training.cloud.aws.client import Clock, Cloud
from training.cloud.launch import setup
from training.config import Config, load_config
from training.store import documents
from training.store.checkpoint import CheckpointData, claim
from training.store.manifest import Owner

pytestmark = pytest.mark.slow  # each test is a command of the launcher

USER, WORLD = 2, 1
NO_KEYS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


class Bench:
    """An account that is set up and has an image, and a proxy before it that can answer otherwise."""

    def __init__(self, account: Account, behind: Front) -> None:
        self.front = behind
        self.account = account._replace(endpoint=behind.url)

    def ready(self) -> None:
        """Set up and bake, without the command line: it has its own tests."""
        setup.apply(setup.plan(self.account.cloud, self.account.scope), lambda _: None)
        self.account.bake()

    def refused(
        self, code: int, says: str, next_step: str, *words: str, env: dict[str, str] | None = None
    ) -> None:
        """Type a command that must be refused, and see that it made nothing."""
        before = list(self.front.asked)
        done = self.account.launch(*words, env=env)
        told = f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, told
        assert "Traceback" not in done.stderr, told
        assert done.stderr.count("error: ") == 1, told
        assert says in done.stderr, told
        assert next_step in done.stderr, told
        made = [
            action
            for action in self.front.asked[len(before) :]
            if action.startswith(("Create", "Run", "PUT"))
        ]
        assert made == [], "nothing was made"

    def client(self, service: str, region: str = "us-east-1", **keys: str) -> Any:
        return boto3.client(service, endpoint_url=self.account.endpoint, region_name=region, **keys)


@pytest.fixture
def bench(account: Account) -> Iterator[Bench]:
    with Front(account.endpoint) as behind:
        bench = Bench(account, behind)
        bench.account.write_config()
        yield bench


def test_without_credentials_a_login_is_named(bench: Bench) -> None:
    env = {**NO_KEYS, "HOME": str(bench.account.folder)}
    bench.refused(WORLD, "Unable to locate credentials", "aws configure", "train", "--yes", env=env)
    bench.refused(WORLD, "Unable to locate credentials", "aws sso login", "train", "--up", "--yes", env=env)


def test_an_expired_session_is_called_so(bench: Bench) -> None:
    bench.front.answers["GetCallerIdentity"] = proxy.refusal("ExpiredToken", "The security token is expired")
    bench.refused(WORLD, "ExpiredToken", "Your session has expired. Log in", "train", "--yes")


def test_unknown_keys_may_also_mean_a_region_that_is_not_switched_on(bench: Bench) -> None:
    answer = proxy.refusal("InvalidClientTokenId", "The security token included in the request is invalid")
    bench.front.answers["GetCallerIdentity"] = answer
    bench.refused(WORLD, "InvalidClientTokenId", "may not be switched on", "up", "--yes")


def test_a_page_that_is_not_of_aws_is_a_named_error_after_a_minute(bench: Bench) -> None:
    bench.front.answers["GetCallerIdentity"] = proxy.Answer(
        "<html>Welcome to our hotel", 200, "text/html", foreign=True
    )
    slept: list[float] = []
    cloud = Cloud(bench.account.aws, lambda _: None, Clock(monotonic=lambda: sum(slept), sleep=slept.append))
    with pytest.raises(NoResponse, match="not AWS's") as caught:
        cloud.call("sts", "get_caller_identity")
    assert "stand between" in caught.value.next_step
    assert 50 < sum(slept) <= 60


def test_a_region_that_does_not_exist_is_corrected(bench: Bench) -> None:
    bench.account.write_config(region="us-east-9", endpoints={})
    bench.refused(USER, "'us-east-9' is no region of AWS", "Did you mean us-east-2", "train", "--yes")


def test_a_text_that_is_no_region_is_refused_before_anything_is_asked(bench: Bench) -> None:
    bench.refused(USER, "aws.region", "", "train", "--yes", "--set", "aws.region=Ohio")


@pytest.mark.slow
def test_a_region_without_a_default_vpc_names_the_command_that_makes_one(bench: Bench) -> None:
    region = "ca-central-1"
    ec2 = bench.client("ec2", region)
    for vpc in ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]:
        for subnet in ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        ec2.delete_vpc(VpcId=vpc["VpcId"])
    bench.account.write_config(region=region, availability_zones=[])
    bench.refused(WORLD, "ca-central-1 has no default VPC", "aws ec2 create-default-vpc", "up", "--yes")
    bench.refused(WORLD, "ca-central-1 has no default VPC", "aws.vpc_id", "train", "--up", "--yes")


def test_a_bucket_name_that_somebody_else_has_is_refused(bench: Bench) -> None:
    taken = f"taken-{secrets.token_hex(4)}"
    # moto knows no owners.
    bench.front.answers[f"HEAD /{taken}"] = proxy.Answer("", 403, "text/xml")
    bench.account.bake()
    bench.account.write_config(s3_bucket_name=taken)
    for words in (("up", "--yes"), ("train", "--up", "--yes")):
        bench.refused(USER, taken, "Choose another aws.s3_bucket_name", *words)


def test_without_an_image_nothing_is_set_up_either(bench: Bench) -> None:
    bench.refused(WORLD, "no image of project", "make ami", "train", "--up", "--yes")
    assert not inventory.bucket_exists(bench.account.cloud, bench.account.scope)


def test_an_image_of_other_requirements_is_refused(bench: Bench) -> None:
    bench.account.bake(b"other requirements")
    bench.refused(WORLD, "has requirements", "make ami", "train", "--up", "--yes")


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_a_quota_of_zero_names_the_page_where_more_is_asked_for(bench: Bench, market: str) -> None:
    bench.ready()
    bench.front.answers["GetServiceQuota"] = proxy.quota(0)
    page = f"quotas/{quotas.code(quotas.G_AND_VT, market)}"
    bench.refused(WORLD, "is 0 vCPUs, 4 are needed", page, "train", "--yes", "--market", market)


def test_a_type_that_does_not_exist_is_refused(bench: Bench) -> None:
    words = ("train", "--up", "--yes", "--set", "aws.instance_types=[g9.huge]")
    bench.refused(USER, "'g9.huge' is no instance type of us-east-1", "g4dn.xlarge", *words)


def test_a_type_that_cannot_run_the_image_is_refused(bench: Bench) -> None:
    words = ("train", "--up", "--yes", "--set", "aws.instance_types=[g5.xlarge, g5g.xlarge]")
    bench.refused(USER, "g5g.xlarge runs arm64, the image x86_64", "Fitting are g5.xlarge", *words)


@pytest.mark.slow
def test_a_key_pair_that_does_not_exist_is_refused(bench: Bench) -> None:
    bench.account.bake()
    name = f"{bench.account.project}-laptop"  # key pairs have names of the region, which other tests share
    words = ("train", "--up", "--yes", "--set", f"aws.key_pair_name={name}")
    bench.refused(USER, f"us-east-1 has no key pair '{name}'", "aws ec2 describe-key-pairs", *words)
    bench.client("ec2").create_key_pair(KeyName=name)
    assert bench.account.launch(*words, "--dry-run").returncode == 0


@pytest.mark.slow
def test_a_run_that_does_not_fit_into_the_smallest_machine_is_refused(bench: Bench) -> None:
    bench.ready()
    words = (
        "train",
        "--yes",
        "--set",
        "training.total_timesteps=1000000000",
        "--set",
        "sac.buffer_size=60000000",
    )
    asked = (*words, "--set", "aws.instance_types=[g5.xlarge, g4dn.xlarge]")
    bench.refused(
        USER,
        "free on the smallest of g5.xlarge, g4dn.xlarge, 16 GiB in all",
        "Set sac.buffer_size to 43000000",
        *asked,
    )


@pytest.mark.slow
def test_a_disk_smaller_than_the_images_is_refused(bench: Bench) -> None:
    bench.account.bake()
    words = ("train", "--up", "--yes", "--set")
    bench.refused(USER, "is below the 40 GB", "to 40 or more", *words, "aws.volume_size_gb=30")
    bench.refused(USER, "aws.volume_size_gb = 20", "", *words, "aws.volume_size_gb=20")


@pytest.mark.slow
def test_private_subnets_are_left_out_and_refused_where_they_are_named(bench: Bench) -> None:
    bench.ready()
    ec2 = bench.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    names = {}
    for zone, block in (("a", "10.9.0.0/24"), ("b", "10.9.1.0/24")):
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"us-east-1{zone}")
        names[zone] = made["Subnet"]["SubnetId"]
    words = ("train", "--up", "--yes", "--set", f"aws.vpc_id={vpc}")
    bench.refused(WORLD, f"no machine in {vpc} would reach AWS", "NAT gateway", *words)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=names["b"])
    ec2.modify_subnet_attribute(SubnetId=names["b"], MapPublicIpOnLaunch={"Value": True})
    setup.apply(
        setup.plan(Cloud(bench.account.aws.model_copy(update={"vpc_id": vpc})), bench.account.scope), print
    )
    planned = bench.account.launch("train", "--dry-run", *words[2:])
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    (config,) = plan["create_fleet"]["LaunchTemplateConfigs"]
    assert {row["SubnetId"] for row in config["Overrides"]} == {names["b"]}
    assert any(f"left out: {names['a']} has no default route" in line for line in plan["plan"])
    both = f"aws.subnet_ids=[{names['a']}, {names['b']}]"
    bench.refused(
        USER, f"aws.subnet_ids: {names['a']} has no default route", "Routes: aws", *words, "--set", both
    )


def test_a_budget_below_one_hour_is_refused(bench: Bench) -> None:
    bench.account.bake()
    words = ("train", "--up", "--yes", "--max-cost-usd", "0.5")
    bench.refused(USER, "aws.max_cost_usd = 0.5 does not buy an hour", "Raise aws.max_cost_usd", *words)


def test_a_broken_config_is_refused_with_its_place(bench: Bench) -> None:
    (bench.account.folder / "config.yaml").write_text("aws: [")
    bench.refused(USER, "config.yaml", "", "train", "--up", "--yes")
    bench.account.write_config(max_hour=3)
    bench.refused(USER, "aws.max_hour", "Did you mean aws.max_hours", "train", "--up", "--yes")


@pytest.mark.slow
def test_a_track_that_no_machine_has_is_refused(bench: Bench) -> None:
    """Also one of this computer that is no track, by its path or its name in the cache: nothing of it is uploaded."""
    cache = {"F1TENTH_TRACKS_DIR": str(bench.account.folder)}
    (bench.account.folder / "Garage").mkdir()
    (bench.account.folder / "Garage" / "Garage_map.yaml").write_text("")
    words = ("train", "--up", "--yes", "--set")
    for key, name, why in (
        ("env", "generatd-1", "there is no track called 'generatd-1'"),
        ("env", "Garage", f"{bench.account.folder}/Garage/Garage_map.yaml: holds NoneType"),
        (
            "evaluation",
            "Garage/Garage_map.yaml",
            f"{bench.account.folder}/Garage/Garage_map.yaml: holds NoneType",
        ),
        ("evaluation", "attic/hall.yaml", f"{bench.account.folder}/attic/hall.yaml: there is no such file"),
    ):
        setting = f"{key}.tracks=[kart, {name}]"
        says = f"{key}.tracks: {why}"
        bench.refused(USER, says, "kart, club, street, national, grand-prix", *words, setting, env=cache)
    assert not inventory.bucket_exists(bench.account.cloud, bench.account.scope)


@pytest.mark.slow
def test_tracks_that_a_machine_has_are_not_refused(bench: Bench) -> None:
    bench.ready()
    tracks = "env.tracks=[kart, generated-7-l200-w0.9, circuit-7, hall-7-b5, Spielberg, /opt/f1tenth/maps/Monza/Monza_map.yaml]"
    assert bench.account.launch("train", "--yes", "--dry-run", "--set", tracks).returncode == 0


def test_a_run_that_goes_on_is_refused_other_tracks_that_no_machine_has(bench: Bench) -> None:
    """Its own settings count, not those of the file."""
    bench.ready()
    store = bench.account.storage
    documents.set_status(store, "race", "stopped")
    store.put(layout.config_key("race"), json.dumps(Config().to_json_dict()).encode())
    words = ("train", "--resume", "race", "--yes", "--detach", "--set", "evaluation.tracks=[Garage]")
    bench.refused(USER, "evaluation.tracks: there is no track called 'Garage'", "generated-SEED", *words)


@pytest.mark.slow
def test_a_run_name_that_exists_is_refused(bench: Bench) -> None:
    bench.ready()
    assert bench.account.launch("train", "--name", "race", "--yes", "--detach").returncode == 0
    bench.refused(USER, "run race is running", "./launch.py status race", "train", "--name", "race", "--yes")
    bench.account.launch("stop", "race", "--now")
    words = ("train", "--up", "--name", "race", "--yes")
    bench.refused(USER, "a run named race exists", "train --resume race", *words)


def test_a_run_to_resume_that_does_not_exist_is_refused(bench: Bench) -> None:
    bench.account.bake()
    words = ("train", "--up", "--resume", "race", "--yes")
    bench.refused(USER, "there is no run race", "./launch.py list", *words)
    assert not inventory.bucket_exists(bench.account.cloud, bench.account.scope)


@pytest.mark.slow
def test_a_checkpoint_to_resume_that_does_not_exist_is_refused(bench: Bench) -> None:
    bench.ready()
    store = bench.account.storage
    documents.set_status(store, "race", "stopped")
    store.put(layout.config_key("race"), json.dumps(Config().to_json_dict()).encode())
    words = ("train", "--resume", "race", "--yes")
    bench.refused(USER, "no committed sac checkpoint", "./launch.py status race", *words, "--at", "77")
    claim(store, "race", "sac", 1, owner=Owner()).commit(50_000, CheckpointData({"learner": b"x"}, (), {}))
    bench.refused(USER, "kept are: 50000", "--at STEP", *words, "--at", "77")
    bench.refused(USER, "no partial save", "./launch.py status race", *words, "--from-partial")
    assert bench.account.launch(*words, "--at", "50000", "--dry-run").returncode == 0


@pytest.mark.slow
def test_a_network_that_does_not_fit_is_refused(bench: Bench) -> None:
    bench.account.bake()
    words = ("train", "--up", "--yes", "--set")
    bench.refused(USER, "vpc-01234567 has no subnet", "aws.vpc_id", *words, "aws.vpc_id=vpc-01234567")
    unknown = "aws.subnet_ids=[subnet-01234567]"
    bench.refused(USER, "'subnet-01234567' does not exist", "aws ec2 describe-subnets", *words, unknown)
    vpc = bench.client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = bench.client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    default = inventory.vpc_id(bench.account.cloud)
    both = f"aws.vpc_id={default}", "--set", f"aws.subnet_ids=[{subnet}]"
    bench.refused(USER, f"{subnet} not in {default}", "leave aws.vpc_id out", *words, *both)
    aws = bench.account.aws.model_copy(update={"subnet_ids": (subnet,)})
    assert inventory.vpc_id(Cloud(aws)) == vpc, "the network follows the subnets"


def test_settings_that_would_do_nothing_are_refused_before_anything_is_made(bench: Bench) -> None:
    bench.account.bake()
    league = ("training.training_type=sac_multiagent", "multi_agent.league.champions=true")
    words = ("train", "--up", "--yes", *(word for one in league for word in ("--set", one)))
    bench.refused(USER, "multi_agent.league.champions = true has no effect", "mode=league", *words)
    assert not inventory.bucket_exists(bench.account.cloud, bench.account.scope)


@pytest.mark.slow
def test_what_the_trainer_would_refuse_on_the_machine_is_refused_here(bench: Bench) -> None:
    """One of each kind; all of them are in test_settings_refused.py."""
    bench.account.bake()
    words = ("train", "--up", "--yes", "--set")
    delay = "env.randomisation.steering_delay_steps=[16, 20]"
    bench.refused(USER, "steering_delay_steps = [16, 20]", "integers within 0 to 15", *words, delay)
    bench.refused(USER, "length_m is 10", "", *words, "env.tracks=[generated-1-l10]")
    bench.refused(USER, "which is not there yet", "aws s3 sync", *words, "training.init_from=old")


@pytest.mark.slow
def test_the_networks_of_another_run_are_copied_into_the_run(bench: Bench) -> None:
    bench.ready()
    store = bench.account.storage
    words = ("train", "--name", "new", "--yes", "--detach", "--set", "training.init_from=old")
    bench.refused(USER, "there is no run called 'old'", f"aws s3 sync runs/RUN {store.url}/runs/RUN", *words)
    settings = load_config(None, ()).to_json_dict()
    store.put(layout.config_key("old"), json.dumps(settings).encode())
    claim(store, "old", "sac", 1, owner=Owner()).commit(
        50_000, CheckpointData({"agent0.learner": b"x"}, (), {})
    )
    launched = bench.account.launch(*words)
    assert launched.returncode == 0, launched.stderr
    assert "takes over the networks of 1 agents of run old, step 50,000" in launched.stderr
    assert store.get(layout.source_networks_key("new", 0), max_bytes=9).data == b"x"


@pytest.mark.slow
def test_what_would_make_another_run_cannot_be_set_on_a_resume(bench: Bench) -> None:
    bench.ready()
    bench.account.launch("train", "--name", "race", "--yes", "--detach")
    bench.account.launch("stop", "race", "--now")
    words = ("train", "--up", "--resume", "race", "--yes", "--set", "sac.gamma=0.9")
    bench.refused(USER, "sac.gamma cannot change when a run continues", "Begin a new run", *words)
    settings = bench.account.settings
    file = bench.account.folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**settings, "sac": {"gamma": 0.9}}), encoding="utf-8")
    planned = bench.account.launch("train", "--resume", "race", "--dry-run", "--config", str(file))
    assert f"not taken from {file}: sac.gamma = 0.9, here 0." in planned.stdout, (
        planned.stdout + planned.stderr
    )
