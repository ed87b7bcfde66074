"""The rights of people and machines in the bucket, and the policy of the bucket itself. Pure.

Objects are reached below our prefixes alone: everything else in a bucket is not ours.
"""

from __future__ import annotations

from ... import layout
from .iam_statements import Document, allow, policy
from .project import Project

TLS_SID = "F1tenthTrainingTlsOnly"  # `up` and `down` know our statement of a bucket policy by it
_SETTINGS = (
    "BucketVersioning",
    "BucketPublicAccessBlock",
    "BucketOwnershipControls",
    "EncryptionConfiguration",
    "LifecycleConfiguration",
    "BucketPolicy",
    "AccelerateConfiguration",
)


def arn(project: Project) -> str:
    """Return the ARN of the bucket."""
    return f"arn:{project.partition}:s3:::{project.bucket}"


def own_objects(project: Project) -> list[str]:
    """Return the ARNs of all objects of ours."""
    return [f"{arn(project)}/{prefix}*" for prefix in layout.OWN_PREFIXES]


def bucket_policy(project: Project, *, shared: bool = False) -> Document:
    """Refuse requests without TLS; shared: only those for our objects in someone else's bucket."""
    return policy(
        [
            {
                "Sid": TLS_SID,
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": own_objects(project) if shared else [arn(project), f"{arn(project)}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    )


def read_and_write(project: Project) -> list[Document]:
    """Return what a person needs to train, watch and fetch."""
    return [
        allow(
            "ReadBucketConfig",
            ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketTagging"],
            arn(project),
        ),
        allow(
            "ReadWriteObjects",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            own_objects(project),
        ),
    ]


def manage(project: Project) -> list[Document]:
    """Return the rights that `up` and `down` need besides `read_and_write`."""
    return [
        allow(
            "ManageBucket",
            [
                "s3:CreateBucket",
                "s3:DeleteBucket",
                "s3:TagResource",
                "s3:PutBucketTagging",
                "s3:DeleteBucketPolicy",
                "s3:ListBucketMultipartUploads",
                "s3:GetBucketObjectLockConfiguration",
                "s3:GetReplicationConfiguration",
                *(f"s3:Get{setting}" for setting in _SETTINGS),
                *(f"s3:Put{setting}" for setting in _SETTINGS),
            ],
            arn(project),
        ),
        allow(
            "EmptyBucket",
            [
                "s3:DeleteObjectVersion",
                "s3:AbortMultipartUpload",
                "s3:GetObjectRetention",
                "s3:GetObjectLegalHold",
            ],
            own_objects(project),
        ),
    ]


def use_key(project: Project) -> list[Document]:
    """Return the right to use the bucket's own KMS key, where it has one: through S3, for what is ours alone.

    The context is the bucket's ARN where its bucket key is on, else the object's.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
    """
    if not project.bucket_key:
        return []
    condition = {
        "StringEquals": {"kms:ViaService": f"s3.{project.region}.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:aws:s3:arn": [arn(project), *own_objects(project)]},
    }
    return [allow("UseBucketKey", ["kms:Decrypt", "kms:GenerateDataKey"], project.bucket_key, condition)]
