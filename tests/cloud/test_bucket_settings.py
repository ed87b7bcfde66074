"""Ours is added to what somebody has set on a bucket, and taken away again: all else stays as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cloud.golden import SCOPE
from tests.cloud.service_model import problems_of_request
from training import layout
from training.cloud.aws import iam_bucket, iam_policies, key_policy, project_resources
from training.cloud.aws.bucket import Found, Use, use_of
from training.cloud.aws.bucket_notes import notes, refusal
from training.cloud.aws.bucket_settings import Change, changes, without_ours

NOTHING = Found({}, {}, {}, {"SSEAlgorithm": "AES256"}, {}, {}, "", "", {}, {})
BLOCKED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
KEY = "arn:aws:kms:us-east-2:123456789012:key/12345678-1234-1234-1234-123456789012"
ADDED = {"put_bucket_tagging", "put_bucket_lifecycle_configuration", "put_bucket_policy"}

# --- what somebody may have set ---
words = st.text("abcXYZ-_ 0189", min_size=1, max_size=8)
tags = st.dictionaries(words, words, max_size=4)
prefixes = st.sampled_from(["", "logs/", "runs", "runs/", "runs/old/", "scripts/", "data/"])
filters = st.one_of(
    st.builds(lambda prefix: {"Filter": {"Prefix": prefix}}, prefixes),
    st.builds(
        lambda prefix: {"Filter": {"And": {"Prefix": prefix, "Tags": [{"Key": "k", "Value": "v"}]}}}, prefixes
    ),
    st.just({"Filter": {"Tag": {"Key": "k", "Value": "v"}}}),
)
older = st.builds(lambda prefix: {"Prefix": prefix}, prefixes)  # S3 takes one form or the other
actions = st.sampled_from(
    [
        {"Expiration": {"Days": 30}},
        {"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]},
        {"NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 3}},
        {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}},
    ]
)


@st.composite
def lifecycles(draw: st.DrawFn) -> dict[str, Any]:
    form = draw(st.sampled_from([filters, older]))
    names = draw(st.lists(words, unique=True, max_size=4))
    rules = [
        {"ID": name, "Status": draw(st.sampled_from(["Enabled", "Disabled"])), **draw(form), **draw(actions)}
        for name in names
    ]
    smallest = draw(st.sampled_from(["varies_by_storage_class", "all_storage_classes_128K"]))
    return {"TransitionDefaultMinimumObjectSize": smallest, "Rules": rules} if rules else {}


statement = st.builds(
    lambda sid, effect: {
        **({"Sid": sid} if sid else {}),
        "Effect": effect,
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{SCOPE.bucket}/data/*",
    },
    st.sampled_from(["", "Theirs", "TlsOnly"]),
    st.sampled_from(["Allow", "Deny"]),
)
bucket_policies = st.one_of(
    st.just({}),
    st.builds(lambda one: {"Version": "2008-10-17", "Id": "theirs", "Statement": one}, statement),
    st.builds(
        lambda all_: {"Version": "2012-10-17", "Statement": all_}, st.lists(statement, min_size=1, max_size=3)
    ),
)
founds = st.builds(
    lambda t, p, r: NOTHING._replace(tags=t, policy=p, lifecycle=r), tags, bucket_policies, lifecycles()
)


def sent(found: Found, made: list[Change]) -> Found:
    """Return a bucket after requests, as S3 would answer it."""
    for change in made:
        request = change.request
        if not request:
            continue
        assert problems_of_request("s3", change.operation, project_resources.sent(request)) == []
        if change.operation == "put_bucket_tagging":
            found = found._replace(tags={one["Key"]: one["Value"] for one in request["Tagging"]["TagSet"]})
        elif change.operation == "put_bucket_policy":
            found = found._replace(policy=copy.deepcopy(request["Policy"]))
        elif change.operation == "put_bucket_lifecycle_configuration":
            size = request.get("TransitionDefaultMinimumObjectSize", "all_storage_classes_128K")
            found = found._replace(
                lifecycle={
                    "TransitionDefaultMinimumObjectSize": size,
                    **copy.deepcopy(request["LifecycleConfiguration"]),
                }
            )
        elif change.operation == "delete_bucket_tagging":
            found = found._replace(tags={})
        elif change.operation == "delete_bucket_policy":
            found = found._replace(policy={})
        elif change.operation == "delete_bucket_lifecycle":
            found = found._replace(lifecycle={})
        else:
            raise AssertionError(f"{change.operation} is sent to a bucket of somebody else")
    return found


def collide(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether S3 would refuse two rules of the older form: prefixes that overlap, and an action of both."""
    first, second = one["Prefix"], other["Prefix"]
    shared = one.keys() & other.keys() - {"ID", "Status", "Prefix"}
    return bool(shared) and (first.startswith(second) or second.startswith(first))


def with_filters(found: Found) -> Found:
    """Return it with its lifecycle rules in the newer form, which means the same."""
    rules = [
        {
            **{key: value for key, value in rule.items() if key != "Prefix"},
            "Filter": {"Prefix": rule["Prefix"]},
        }
        if "Prefix" in rule
        else rule
        for rule in found.lifecycle.get("Rules", ())
    ]
    return found._replace(lifecycle={**found.lifecycle, "Rules": rules}) if rules else found


def as_list(found: Found) -> Found:
    """Return it with its policy's statements as a list: one alone may stand without, and means the same."""
    statements = found.policy.get("Statement")
    return (
        found._replace(policy={**found.policy, "Statement": [statements]})
        if isinstance(statements, dict)
        else found
    )


@given(founds)
@settings(max_examples=200, deadline=None)
def test_what_somebody_has_set_is_the_same_after_up_and_down(before: Found) -> None:
    theirs = copy.deepcopy(before)
    during = sent(before, changes(SCOPE, before, "unmarked", accelerate=False))
    assert before == theirs, "planning changes nothing of what it reads"
    assert before.tags.items() <= during.tags.items()
    assert use_of(SCOPE, during.tags) == "shared"
    kept_rules = with_filters(before).lifecycle.get("Rules", ())
    assert all(rule in with_filters(during).lifecycle["Rules"] for rule in kept_rules)
    forms = {"Prefix" in rule for rule in during.lifecycle["Rules"]}
    assert len(forms) == 1, "S3 takes no mixture of forms"
    if forms == {True}:
        mine, yours = during.lifecycle["Rules"][-2:], during.lifecycle["Rules"][:-2]
        assert not any(collide(one, other) for one in mine for other in yours)
        assert yours == before.lifecycle["Rules"], "as they were written"
    if before.lifecycle:
        key = "TransitionDefaultMinimumObjectSize"
        assert during.lifecycle[key] == before.lifecycle[key]
    kept = as_list(before).policy.get("Statement", [])
    assert all(one in during.policy["Statement"] for one in kept)
    assert not any(change.request for change in changes(SCOPE, during, "shared", accelerate=False)), (
        "a second `up` has nothing to do"
    )
    after = sent(during, without_ours(SCOPE, during))
    assert with_filters(as_list(after)) == with_filters(as_list(before))


@given(founds)
@settings(max_examples=50, deadline=None)
def test_nothing_is_taken_from_a_bucket_that_has_nothing_of_ours(before: Found) -> None:
    assert without_ours(SCOPE, before) == []


@given(founds)
@settings(max_examples=50, deadline=None)
def test_in_a_bucket_that_up_made_what_was_added_later_stays_too(found: Found) -> None:
    made = [one for one in changes(SCOPE, found, "created", accelerate=False) if one.operation in ADDED]
    after = sent(found, made)
    kept = with_filters(found).lifecycle.get("Rules", ())
    assert all(rule in with_filters(after).lifecycle["Rules"] for rule in kept)
    assert found.tags.items() <= after.tags.items() or "Project" in found.tags
    assert as_list(found).policy.get("Statement", []) == after.policy["Statement"][:-1]


def test_a_bucket_of_somebody_gets_three_things_and_only_for_our_prefixes() -> None:
    made = changes(SCOPE, NOTHING, "unmarked", accelerate=False)
    assert {change.operation for change in made if change.request} == ADDED
    rules = project_resources.lifecycle(SCOPE)["Rules"]
    assert sorted(rule["Filter"]["Prefix"] for rule in rules) == ["runs/", "scripts/"]
    (ours,) = iam_bucket.bucket_policy(SCOPE, shared=True)["Statement"]
    arn = f"arn:aws:s3:::{SCOPE.bucket}"
    assert ours["Resource"] == [f"{arn}/runs/*", f"{arn}/scripts/*"]


def test_a_statement_that_refuses_plain_http_already_is_enough() -> None:
    (theirs,) = iam_bucket.bucket_policy(SCOPE)["Statement"]
    found = NOTHING._replace(
        policy={"Version": "2012-10-17", "Statement": {**theirs, "Sid": "AllowSSLRequestsOnly"}}
    )
    assert not [
        one
        for one in changes(SCOPE, found, "unmarked", accelerate=False)
        if one.what == "policy" and one.request
    ]


# --- a bucket that `up` made ---
STRICT = {
    "encryption": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY, "BucketKeyEnabled": True},
    "public_access": BLOCKED,
    "ownership": "BucketOwnerEnforced",
    "versioning": {"Status": "Enabled", "MFADelete": "Disabled"},
}
WEAK: dict[str, Any] = {
    "encryption": {},
    "public_access": {**BLOCKED, "BlockPublicPolicy": False},
    "ownership": "ObjectWriter",
    "versioning": {"Status": "Suspended"},
}


@pytest.mark.parametrize("field", STRICT)
def test_what_is_as_strict_or_stricter_stays_and_what_is_weaker_is_shown_and_set(field: str) -> None:
    def of(value: Any) -> Change:
        made = changes(SCOPE, NOTHING._replace(**{field: value}), "created", accelerate=False)
        (one,) = [change for change in made if change.operation.endswith(NAMES[field])]
        return one

    assert not of(STRICT[field]).request
    mended = of(WEAK[field])
    assert mended.request
    assert mended.before != mended.after


NAMES = {
    "encryption": "encryption",
    "public_access": "public_access_block",
    "ownership": "ownership_controls",
    "versioning": "versioning",
}


@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
@pytest.mark.parametrize("use", ["created", "shared"])
def test_stronger_encryption_is_never_replaced(algorithm: str, use: Use) -> None:
    found = NOTHING._replace(encryption={"SSEAlgorithm": algorithm})
    made = changes(SCOPE, found, use, accelerate=False)
    assert not [one for one in made if one.operation == "put_bucket_encryption" and one.request]


def test_a_key_of_the_settings_encrypts_a_new_bucket_with_its_bucket_key_on() -> None:
    scope = SCOPE._replace(bucket_key=KEY)
    request = project_resources.bucket_settings(scope, accelerate=False)["put_bucket_encryption"]
    assert problems_of_request("s3", "put_bucket_encryption", request) == []
    (rule,) = request["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KEY
    assert rule["BucketKeyEnabled"] is True
    for document in (iam_policies.instance_policy, key_policy.key_policy):
        used = [one for one in document(scope)["Statement"] if one["Sid"] == "UseBucketKey"]
        assert [one["Resource"] for one in used] == [KEY]
        arn = f"arn:aws:s3:::{SCOPE.bucket}"
        context = used[0]["Condition"]["StringLike"]["kms:EncryptionContext:aws:s3:arn"]
        assert context == [arn, f"{arn}/runs/*", f"{arn}/scripts/*"], (
            "of this bucket, and in it of what is ours"
        )
    assert "UseBucketKey" not in [one["Sid"] for one in iam_policies.instance_policy(SCOPE)["Statement"]]
    assert not key_policy.is_needed(SCOPE)


# --- whose it is, what is refused, what is said ---
@pytest.mark.parametrize(
    ("mark", "use"),
    [
        ("created:f1tenth", "created"),
        ("shared:f1tenth", "shared"),
        ("created:other", "other"),
        ("shared:f1tenth-2", "other"),
        ("f1tenth", "other"),
    ],
)
def test_the_tag_of_a_bucket_says_whose_it_is(mark: str, use: Use) -> None:
    assert use_of(SCOPE, {layout.TAG_BUCKET: mark, "Project": "f1tenth"}) == use
    assert use_of(SCOPE, {"Project": "f1tenth"}) == "unmarked", "Project is anybody's tag"


@pytest.mark.parametrize(
    ("key", "setting", "refused"),
    [
        ("", "", False),
        ("alias/aws/s3", "", False),
        ("arn:aws:kms:us-east-2:123456789012:alias/aws/s3", "", False),
        (KEY, "", True),
        (KEY, KEY, False),
        (KEY.rpartition("/")[2], KEY, False),
        (KEY, KEY.replace("1234", "4321"), True),
        ("alias/team", "", True),
        ("alias/team", KEY, False),
    ],
)
def test_a_key_that_machines_could_not_use_is_refused_with_the_setting_to_write(
    key: str, setting: str, refused: bool
) -> None:
    found = NOTHING._replace(
        encryption={"SSEAlgorithm": "aws:kms", **({"KMSMasterKeyID": key} if key else {})}
    )
    error = refusal(SCOPE._replace(bucket_key=setting), found, "shared", accelerate=False)
    assert (error is not None) == refused
    if error is not None:
        assert key in error.message
        assert "aws.s3_kms_key_arn" in error.next_step


def test_a_bucket_without_our_tag_is_refused_until_the_user_says_so() -> None:
    error = refusal(SCOPE, NOTHING, "unmarked", accelerate=False)
    assert error is not None
    assert "./launch.py up --use-existing-bucket" in error.next_step
    assert refusal(SCOPE, NOTHING, "unmarked", accelerate=False, allowed=True) is None
    other = NOTHING._replace(tags={layout.TAG_BUCKET: "created:other"})
    assert refusal(SCOPE, other, "other", accelerate=False, allowed=True) is not None, (
        "two projects, two buckets"
    )


def test_transfer_acceleration_is_not_switched_on_for_somebody() -> None:
    assert refusal(SCOPE, NOTHING, "shared", accelerate=True) is not None
    on = NOTHING._replace(acceleration="Enabled")
    assert refusal(SCOPE, on, "shared", accelerate=True) is None
    assert refusal(SCOPE, NOTHING, "created", accelerate=True) is None


def rule(**parts: Any) -> Found:
    return NOTHING._replace(lifecycle={"Rules": [{"ID": "theirs", "Status": "Enabled", **parts}]})


DAYS = {"Expiration": {"Days": 30}}
GLACIER = {"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
HARMFUL = {
    "deletes all": rule(Filter={"Prefix": ""}, **DAYS),
    "older form": rule(Prefix="", **DAYS),
    "no filter": rule(Filter={}, **DAYS),
    "a date": rule(Filter={"Prefix": "runs/"}, Expiration={"Date": "2030-01-01"}),
    "a part of ours": rule(Filter={"Prefix": "runs/old"}, **DAYS),
    "by size": rule(Filter={"And": {"Prefix": "r", "ObjectSizeGreaterThan": 5}}, **DAYS),
    "archives": rule(Filter={"Prefix": "scripts/"}, **GLACIER),
}
HARMLESS = {
    "elsewhere": rule(Filter={"Prefix": "logs/"}, **DAYS),
    "off": rule(Filter={"Prefix": ""}, **DAYS)._replace(
        lifecycle={"Rules": [{"ID": "theirs", "Status": "Disabled", "Filter": {"Prefix": ""}, **DAYS}]}
    ),
    "by tag": rule(Filter={"Tag": {"Key": "k", "Value": "v"}}, **DAYS),
    "by tag and prefix": rule(Filter={"And": {"Prefix": "", "Tags": [{"Key": "k", "Value": "v"}]}}, **DAYS),
    "old versions": rule(Filter={"Prefix": ""}, NoncurrentVersionExpiration={"NoncurrentDays": 1}),
    "another class": rule(
        Filter={"Prefix": ""}, Transitions=[{"Days": 30, "StorageClass": "INTELLIGENT_TIERING"}]
    ),
    "markers": rule(Filter={"Prefix": ""}, Expiration={"ExpiredObjectDeleteMarker": True}),
}


@pytest.mark.parametrize("found", HARMFUL.values(), ids=HARMFUL)
def test_a_rule_that_would_take_runs_away_is_warned_of(found: Found) -> None:
    assert [line for line in notes(SCOPE, found) if line.startswith("WARNING: lifecycle rule theirs")]


@pytest.mark.parametrize("found", HARMLESS.values(), ids=HARMLESS)
def test_a_rule_that_does_not_touch_live_runs_is_not(found: Found) -> None:
    assert not [line for line in notes(SCOPE, found) if "WARNING" in line]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (NOTHING._replace(versioning={"Status": "Suspended"}), "versioning is off"),
        (NOTHING._replace(public_access={}), "does not block public access"),
        (
            NOTHING._replace(object_lock={"Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 9}}}),
            "Object Lock keeps each version 9 days",
        ),
        (
            NOTHING._replace(
                replication={
                    "Rules": [
                        {"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": "arn:aws:s3:::copy"}}
                    ]
                }
            ),
            "replicated to arn:aws:s3:::copy",
        ),
    ],
)
def test_what_a_bucket_does_to_runs_is_said(found: Found, says: str) -> None:
    assert [line for line in notes(SCOPE, found) if says in line]
    content = NOTHING._replace(versioning={"Status": "Enabled"}, public_access=BLOCKED)
    assert len(notes(SCOPE, content)) == 1, "a bucket as ours would be needs no word but what stays"
