"""Things of somebody else in the account of a project, one or more of each kind that the launcher touches.

Their names and tags are as near to ours as they can be without being ours. `Foreign.snapshot` reads all of them
back, past the launcher's own code, so that a test can compare before and after.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from tests.cloud.fake_aws import Account
from training import layout
from training.cloud.aws.iam_policies import instance_trust
from training.cloud.aws.project import read_project

PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
}
# Everything that is set on a bucket of somebody, by the names of boto3's methods.
SETTINGS = (
    "bucket_tagging", "bucket_policy", "bucket_lifecycle_configuration", "bucket_encryption", "bucket_versioning",
    "public_access_block", "bucket_ownership_controls", "bucket_accelerate_configuration",     "bucket_notification_configuration", "bucket_cors", "bucket_acl",
)  # fmt: skip
ENCRYPTION = {
    "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms:dsse"},
    "BucketKeyEnabled": True,
}
RULES = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 7}},
    {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 365},
    },
]
STATEMENT = {
    "Sid": "TlsOnly",  # a name that others like, too
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "s3:*",
}
LOOKED_AT = ("ResponseMetadata", "RequestId", "HTTPHeaders")


def pairs(**tags: str) -> list[dict[str, str]]:
    """Return tags as EC2, IAM and S3 take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tagged(kind: str, **tags: str) -> list[dict[str, Any]]:
    """Return tags as EC2 takes them at a creation; empty for none."""
    return [{"ResourceType": kind, "Tags": pairs(**tags)}] if tags else []


class Foreign:
    """What somebody else has, and how to read each thing back."""

    def __init__(self, account: Account) -> None:
        self.cloud, self.project = account.cloud, account.project
        self.scope = read_project(self.cloud)
        self.reads: dict[str, Callable[[], object]] = {}

    def client(self, service: str) -> Any:
        return self.cloud.client(service)

    def snapshot(self) -> dict[str, object]:
        """Return everything as it is now."""
        return {name: _plain(read()) for name, read in self.reads.items()}

    def place_neighbours(self) -> None:
        """Make what does not stand in our way: other names, or names of ours with tags that are not."""
        project = {"Project": self.project}
        for tags in ({}, project, {**project, "Run": "race"}, {"Project": "other", "Run": "race"}):
            label = "+".join(f"{key}={value}" for key, value in tags.items()) or "no tags"
            self._costly(label, tags)
            self._identities(label, tags)
        self._groups()
        self._logs()
        self._rest()

    def place_bucket(self) -> None:
        """Make a bucket of the name that the settings say, with everything set on it that can be set."""
        s3, name = self.client("s3"), self.scope.bucket
        s3.create_bucket(Bucket=name, ObjectOwnership="BucketOwnerPreferred")
        # A Project tag divides a bill; ours is another.
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs(Owner="kim", Project=self.project)})
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=name, Key="data/a.csv", Body=b"old")
        s3.put_object(Bucket=name, Key="data/a.csv", Body=b"new")
        s3.put_object(Bucket=name, Key="runs.txt", Body=b"beside our prefix")
        s3.delete_object(Bucket=name, Key="gone.txt")
        s3.create_multipart_upload(Bucket=name, Key="data/large")
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
        s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration={"BlockPublicAcls": True, "BlockPublicPolicy": True}
        )
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [ENCRYPTION]})
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": RULES})
        policy = {
            "Version": "2012-10-17",
            "Statement": [{**STATEMENT, "Resource": f"arn:aws:s3:::{name}/data/*"}],
        }
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
        s3.put_bucket_accelerate_configuration(Bucket=name, AccelerateConfiguration={"Status": "Suspended"})
        s3.put_bucket_notification_configuration(
            Bucket=name, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        s3.put_bucket_cors(
            Bucket=name,
            CORSConfiguration={
                "CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://a.example"]}]
            },
        )
        for what in SETTINGS:
            self.reads[f"bucket's {what}"] = functools.partial(getattr(s3, f"get_{what}"), Bucket=name)
        self.reads["bucket's objects"] = lambda: _objects(s3, name)
        self.reads["bucket's uploads"] = lambda: [
            (one["Key"], one["UploadId"])
            for one in s3.list_multipart_uploads(Bucket=name).get("Uploads", ())
            if not one["Key"].startswith(layout.OWN_PREFIXES)
        ]

    def place_namesakes(self) -> None:
        """Make what has exactly the name of something that `up` makes, without its tags."""
        self.group(f"{self.project}-training", {}, self._default_vpc())
        self.log_group(f"/{self.project}/training", {})
        self.policy(layout.instance_policy_name(self.project, self.scope.region), {"Project": "other"})

    # --- kinds ---
    def _costly(self, label: str, tags: dict[str, str]) -> None:
        ec2 = self.client("ec2")
        image = "ami-12c6146b"  # one of moto's own
        machine = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="t3.micro",
            TagSpecifications=tagged("instance", **tags),
        )["Instances"][0]["InstanceId"]
        self.reads[f"machine, {label}"] = lambda: ec2.describe_instances(InstanceIds=[machine])[
            "Reservations"
        ]
        volume = ec2.create_volume(
            AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tagged("volume", **tags)
        )["VolumeId"]
        self.reads[f"volume, {label}"] = lambda: ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
        name = f"{self.project}.{len(self.reads)}.1"
        template = ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": image, "InstanceType": "t3.micro"},
            TagSpecifications=tagged("launch-template", **tags),
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.reads[f"template, {label}"] = lambda: ec2.describe_launch_templates(
            LaunchTemplateIds=[template]
        )["LaunchTemplates"]
        fleet = ec2.create_fleet(
            Type="maintain",
            TargetCapacitySpecification={"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
            LaunchTemplateConfigs=[
                {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "1"}}
            ],
            TagSpecifications=tagged("fleet", **tags),
        )["FleetId"]
        self.reads[f"fleet, {label}"] = lambda: [
            one for one in ec2.describe_fleets()["Fleets"] if one["FleetId"] == fleet
        ]

    def _identities(self, label: str, tags: dict[str, str]) -> None:
        iam, path = self.client("iam"), self.scope.iam_path
        if tags == {"Project": self.project, "Run": "race"}:
            return  # on our path with both tags: that is ours
        name = f"{self.project}.{self.scope.region}.{len(self.reads)}"
        iam.create_role(
            RoleName=name,
            Path=path,
            AssumeRolePolicyDocument=json.dumps(instance_trust()),
            Tags=pairs(**tags),
        )
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(PERMISSIONS))
        self.reads[f"role, {label}"] = lambda: [
            iam.get_role(RoleName=name)["Role"],
            iam.list_role_policies(RoleName=name)["PolicyNames"],
            iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
        ]
        iam.create_instance_profile(InstanceProfileName=name, Path=path, Tags=pairs(**tags))
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        self.reads[f"profile, {label}"] = lambda: iam.get_instance_profile(InstanceProfileName=name)[
            "InstanceProfile"
        ]
        self.policy(name, tags)

    def policy(self, name: str, tags: dict[str, str]) -> None:
        iam, path = self.client("iam"), self.scope.iam_path
        arn = iam.create_policy(
            PolicyName=name, Path=path, PolicyDocument=json.dumps(PERMISSIONS), Tags=pairs(**tags)
        )["Policy"]["Arn"]
        self.reads[f"policy {name}"] = lambda: [
            iam.get_policy(PolicyArn=arn)["Policy"],
            iam.list_policy_versions(PolicyArn=arn)["Versions"],
        ]

    def _default_vpc(self) -> str:
        found = self.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
        return str(found["Vpcs"][0]["VpcId"])

    def _groups(self) -> None:
        other = self.client("ec2").create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        project = {"Project": self.project}
        self.group(f"{self.project}-training", {}, other)
        self.group(f"{self.project}-training-2", project, self._default_vpc())
        self.group("web", project, other)

    def group(self, name: str, tags: dict[str, str], vpc: str) -> None:
        ec2 = self.client("ec2")
        group = ec2.create_security_group(
            GroupName=name,
            Description="somebody else's",
            VpcId=vpc,
            TagSpecifications=tagged("security-group", **tags),
        )["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
            ],
        )
        self.reads[f"security group {name} in {vpc}"] = lambda: ec2.describe_security_groups(
            GroupIds=[group]
        )["SecurityGroups"]

    def _logs(self) -> None:
        self.log_group(f"/{self.project}/training-2", {"Project": self.project})
        self.log_group(f"/{self.project}/training/web", {})
        self.log_group(f"/{self.project}", {"Project": self.project})

    def log_group(self, name: str, tags: dict[str, str]) -> None:
        logs = self.client("logs")
        logs.create_log_group(logGroupName=name, **({"tags": tags} if tags else {}))
        logs.put_retention_policy(logGroupName=name, retentionInDays=7)
        logs.create_log_stream(logGroupName=name, logStreamName="theirs")

        def read() -> object:
            (row,) = [
                one
                for one in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
                if one["logGroupName"] == name
            ]
            streams = logs.describe_log_streams(logGroupName=name)["logStreams"]
            return [row, streams, logs.list_tags_for_resource(resourceArn=row["logGroupArn"])["tags"]]

        self.reads[f"log group {name}"] = read

    def _rest(self) -> None:
        """Make what the launcher only looks at: a key pair, a parameter, an image, a bucket beside ours."""
        ec2, ssm, s3 = self.client("ec2"), self.client("ssm"), self.client("s3")
        ec2.create_key_pair(KeyName=self.project, TagSpecifications=tagged("key-pair", Project=self.project))
        self.reads["key pair"] = lambda: ec2.describe_key_pairs(KeyNames=[self.project])["KeyPairs"]
        key = layout.wandb_parameter_name(self.project)
        ssm.put_parameter(Name=key, Type="SecureString", Value="theirs")
        self.reads["parameter"] = lambda: ssm.get_parameter(Name=key, WithDecryption=True)["Parameter"]
        image = ec2.register_image(
            Name=f"{self.project}-web", TagSpecifications=tagged("image", Project=self.project)
        )["ImageId"]
        self.reads["image"] = lambda: ec2.describe_images(ImageIds=[image])["Images"]
        beside = f"{self.scope.bucket}-2"
        s3.create_bucket(Bucket=beside)
        s3.put_bucket_tagging(Bucket=beside, Tagging={"TagSet": pairs(Project=self.project)})
        s3.put_object(Bucket=beside, Key="runs/race/status.json", Body=b"theirs")
        self.reads["bucket beside"] = lambda: [
            s3.get_bucket_tagging(Bucket=beside)["TagSet"],
            s3.list_objects_v2(Bucket=beside)["Contents"],
        ]


def _objects(s3: Any, bucket: str) -> object:
    """Return what is not below our prefixes: versions, markers, and what the newest hold."""
    reply = s3.list_object_versions(Bucket=bucket)
    rows = [
        row
        for row in [*reply.get("Versions", ()), *reply.get("DeleteMarkers", ())]
        if not row["Key"].startswith(layout.OWN_PREFIXES)
    ]
    newest = [row["Key"] for row in rows if "Size" in row and row["IsLatest"]]
    return [rows, {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in newest}]


def _plain(data: object) -> object:
    """Return an answer without what only this request has, so that two may be compared."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items() if key not in LOOKED_AT}
    if isinstance(data, (list, tuple)):
        return [_plain(one) for one in data]
    return data
