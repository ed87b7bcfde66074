"""What is sent to AWS is what was looked at: golden texts, and the rules that no change may break."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cloud.fake_aws import ROOT
from tests.cloud.golden import AWS, FOLDER, LAUNCH, SCOPE, documents_by_name, everything
from tests.cloud.pages import DOCS, PAGES
from tests.cloud.service_model import operations, problems_of_request
from training import layout
from training.cloud.aws import iam_policies, launch_requests, project_resources
from training.cloud.launch import launch
from training.cloud.launch.code_bundle import SOURCE_EPOCH_S, make_bundle
from training.config import AwsSettings, EndpointSettings, load_config
from training.errors import DataError, UsageError
from training.store.open import open_store

REGENERATE = "if the change is meant: python -m tests.cloud.golden"


@pytest.mark.parametrize("document", everything(), ids=lambda document: document.name)
def test_a_document_reads_as_it_did(document) -> None:
    assert document.text == (FOLDER / document.name).read_text(encoding="utf-8"), REGENERATE


def test_no_golden_text_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {document.name for document in everything()}


REQUESTS = {
    "create_bucket": ("s3", "create_bucket"),
    "create_security_group": ("ec2", "create_security_group"),
    "create_log_group": ("logs", "create_log_group"),
    "launch_template": ("ec2", "create_launch_template"),
    "fleet_spot": ("ec2", "create_fleet"),
    "fleet_on_demand_once": ("ec2", "create_fleet"),
    "create_instance_profile": ("iam", "create_instance_profile"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_document_is_a_request_that_the_model_of_aws_allows(name: str) -> None:
    assert problems_of_request(*REQUESTS[name], documents_by_name()[name]) == []


@pytest.mark.parametrize("operation", project_resources.bucket_settings(SCOPE, accelerate=True))
def test_a_setting_of_the_bucket_is_a_request_that_the_model_of_aws_allows(operation: str) -> None:
    request = project_resources.bucket_settings(SCOPE, accelerate=True)[operation]
    assert problems_of_request("s3", operation, project_resources.sent(request)) == []


@pytest.mark.parametrize("operation", ["create_policy", "create_role"])
def test_an_identity_is_a_request_that_the_model_of_aws_allows(operation: str) -> None:
    assert problems_of_request("iam", operation, project_resources.sent(documents_by_name()[operation])) == []


# --- policies ---
@pytest.mark.parametrize(
    "policy", [iam_policies.instance_policy, iam_policies.daily_policy, iam_policies.setup_policy]
)
def test_a_policy_fits_into_what_iam_takes(policy) -> None:
    assert len(re.sub(r"\s", "", json.dumps(policy(SCOPE)))) <= 6_144


def test_a_machine_may_neither_delete_data_nor_make_or_end_machines() -> None:
    actions = {
        a for statement in iam_policies.instance_policy(SCOPE)["Statement"] for a in statement["Action"]
    }
    assert not [
        a
        for a in actions
        if re.search(r"s3:Delete|Terminate|Create(?!LogStream|Control|Data)|Run|PassRole|\*", a)
    ]


def test_plain_http_leaves_the_tls_only_policy_out() -> None:
    settings = project_resources.bucket_settings(SCOPE._replace(plain_http=True), accelerate=False)
    assert "put_bucket_policy" not in settings


def test_no_lifecycle_rule_deletes_live_data_by_age() -> None:
    for rule in project_resources.lifecycle(SCOPE)["Rules"]:
        assert set(rule["Expiration"]) == {"ExpiredObjectDeleteMarker"}
        assert "Transitions" not in rule


# --- network ---
@pytest.mark.parametrize("address", ["0.0.0.0", "1.2.3", "300.1.1.1", "10.0.0.0/8", "::1", "my-ip"])
def test_ports_open_to_one_address_or_not_at_all(address: str) -> None:
    with pytest.raises(UsageError, match="one IPv4 address"):
        project_resources.ingress(address)


def test_nothing_is_open_by_default() -> None:
    assert project_resources.ingress(None) == []


# --- machine ---
def test_user_data_is_a_short_script_that_bash_reads(tmp_path: Path) -> None:
    endpoints = EndpointSettings(s3="http://10.0.0.1:1", ec2="http://10.0.0.1:2", ssm="http://10.0.0.1:3")
    script = launch_requests.user_data(SCOPE, AwsSettings(endpoints=endpoints), LAUNCH._replace(at_step=5))
    assert len(script.splitlines()) <= launch_requests.USER_DATA_LINES
    (tmp_path / "user_data").write_text(script, encoding="utf-8")
    subprocess.run(["bash", "-n", str(tmp_path / "user_data")], check=True)
    assert "F1TENTH_TRAIN_ARGS=--resume lap-record --at 5" in script


def test_user_data_run_on_a_machine_leaves_settings_and_environment_that_read_back(tmp_path: Path) -> None:
    (tmp_path / "fetch").write_text("#!/bin/sh\necho fetched $1\n")
    (tmp_path / "fetch").chmod(0o755)
    script = launch_requests.user_data(SCOPE, AWS, LAUNCH)
    for place, stand_in in (
        ("/run/f1tenth", str(tmp_path)),
        ("/usr/local/bin/f1tenth-fetch", str(tmp_path / "fetch")),
    ):
        script = script.replace(place, stand_in)
    done = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == f"fetched s3://{SCOPE.bucket}/scripts/{'ab' * 32}.tar.gz\n"
    assert load_config(tmp_path / "config.yaml").aws.region == "us-east-2"
    env = dict(line.split("=", 1) for line in (tmp_path / "run.env").read_text().splitlines())
    assert float(env["F1TENTH_MAX_HOURS"]) == LAUNCH.hours
    assert env["F1TENTH_STORE"] == SCOPE.store


def test_user_data_and_template_hold_no_secret() -> None:
    template = json.dumps(launch_requests.launch_template(SCOPE, AWS, LAUNCH)["LaunchTemplateData"])
    assert not re.search(r"(?i)aws_secret|password|api[_-]?key\"?:|AKIA", template)


def test_the_template_carries_the_user_data_and_the_end_date() -> None:
    data = launch_requests.launch_template(SCOPE, AWS, LAUNCH)["LaunchTemplateData"]
    assert base64.b64decode(data["UserData"]).decode() == launch_requests.user_data(SCOPE, AWS, LAUNCH)
    tags = {tag["Key"]: tag["Value"] for tag in data["TagSpecifications"][0]["Tags"]}
    assert tags["ExpiresAt"] == "2026-12-01T18:00:00Z"


@pytest.mark.parametrize("relaunch", [True, False])
@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_every_fleet_carries_its_own_end_and_price_limit(market, relaunch) -> None:
    request = launch_requests.fleet_request(
        SCOPE, LAUNCH._replace(market=market, relaunch=relaunch), "lt-1", 1
    )
    assert request["ValidUntil"] == LAUNCH.valid_until
    assert request["TerminateInstancesWithExpiration"] is True
    assert request["Type"] != "instant", "an instant fleet ignores ValidUntil"
    options = request["SpotOptions" if market == "spot" else "OnDemandOptions"]
    assert options["MaxTotalPrice"] == "1.0060"


@pytest.mark.parametrize("relaunch", [True, False])
@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_a_fleet_asks_for_nothing_that_its_type_may_not(market, relaunch) -> None:
    """AWS's model says of a member for which types alone it is; that is read out of its documentation."""
    request = launch_requests.fleet_request(
        SCOPE, LAUNCH._replace(market=market, relaunch=relaunch), "lt-1", 1
    )
    limited = dict(limited_to_types(operations("ec2")["create_fleet"].input_shape, request))
    assert {path for path, types in limited.items() if request["Type"] not in types} == set()
    assert set(limited) == (
        {"ReplaceUnhealthyInstances", "ExcessCapacityTerminationPolicy"} if relaunch else set()
    )


def limited_to_types(shape, sent, prefix="") -> Iterator[tuple[str, set[str]]]:
    """Yield the members of a request that are for some types of fleets alone, with these types."""
    for name, value in sent.items():
        member = shape.members[name]
        text = re.sub(r"<[^>]+>", "", member.documentation)
        if found := re.search(r"[Ss]upported only for fleets of type ((?:\w+(?:, | and | or )?)+)", text):
            yield prefix + name, set(re.findall(r"maintain|request|instant", found[1]))
        if isinstance(value, dict):
            yield from limited_to_types(member, value, f"{prefix}{name}.")


def test_a_member_for_one_type_of_fleet_is_found_in_the_model() -> None:
    shape = operations("ec2")["create_fleet"].input_shape
    sent = {"SpotOptions": {"SingleInstanceType": True}, "ReplaceUnhealthyInstances": True}
    assert dict(limited_to_types(shape, sent)) == {
        "SpotOptions.SingleInstanceType": {"instant"},
        "ReplaceUnhealthyInstances": {"maintain"},
    }


def test_the_client_token_changes_with_project_run_and_launch_only() -> None:
    tokens = {
        launch_requests.client_token(SCOPE, LAUNCH),
        launch_requests.client_token(SCOPE._replace(name="other"), LAUNCH),
        launch_requests.client_token(SCOPE, LAUNCH._replace(number=2)),
        launch_requests.client_token(SCOPE, LAUNCH._replace(run="other")),
    }
    assert len(tokens) == 4
    assert launch_requests.client_token(SCOPE, LAUNCH._replace(owner="somebody")) in tokens
    assert max(map(len, tokens)) <= 64


# --- bundle ---
def test_the_bundle_is_named_by_its_bytes_and_the_same_each_time() -> None:
    one, other = make_bundle(ROOT), make_bundle(ROOT)
    assert one == other
    assert one.sha256 == hashlib.sha256(one.data).hexdigest()
    assert one.requirements_sha256 == hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()


def test_the_bundle_holds_the_code_at_one_file_time_and_nothing_else() -> None:
    with tarfile.open(fileobj=io.BytesIO(make_bundle(ROOT).data)) as archive:
        members = archive.getmembers()
    assert {member.mtime for member in members} == {SOURCE_EPOCH_S}
    tracked = subprocess.run(
        ["git", "ls-files", "training", "requirements.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {member.name for member in members} >= set(tracked.stdout.split())
    assert not [member.name for member in members if "__pycache__" in member.name]


def test_the_image_bakes_with_the_same_file_time() -> None:
    defaults = ROOT / "ansible" / "roles" / "python_env" / "defaults" / "main.yml"
    if not defaults.exists():
        pytest.skip("the image's role is not part of this tree")
    assert yaml.safe_load(defaults.read_text(encoding="utf-8"))["python_env_source_epoch_s"] == SOURCE_EPOCH_S


def test_a_folder_without_the_project_makes_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks training/"):
        make_bundle(tmp_path)


@pytest.mark.parametrize("there", [b"not what was sent", b"", b"x" * (64 << 20)])
def test_code_that_is_not_what_its_name_says_is_uploaded_again(tmp_path: Path, there: bytes) -> None:
    """Machines refuse it, so launching again must mend it."""
    storage, bundle = open_store(str(tmp_path)), make_bundle(ROOT)
    key = layout.script_bundle_key(bundle.sha256)
    storage.put(key, there)
    for _ in range(2):
        launch.upload_bundle(storage, bundle)
        assert storage.get(key, max_bytes=1 << 27).data == bundle.data


# --- documentation ---
@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_says_what_the_code_says(page: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"from tests.cloud.pages import PAGES; print(PAGES[{page!r}](), end='')"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (DOCS / page).read_text(encoding="utf-8"), "run: python -m tests.cloud.pages"


def test_the_handbook_names_every_command_and_no_other() -> None:
    text = "".join(
        (DOCS / name).read_text(encoding="utf-8") for name in ("operations.md", "troubleshooting.md")
    )
    known = set(
        re.findall(r"^## ([a-z]+)$", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    used = set(re.findall(r"\./launch\.py ([a-z]+)", text)) | set(re.findall(r"`([a-z]+)`", text)) & known
    assert used <= known
    assert known - used <= {"list", "prune"}
