"""Words of AWS that are in no service model of botocore, and our own that are compared; each group with its reason.

The literals of the code that meet AWS are found in the models, or here, or they are faults (test_aws_literals.py).
"""

from __future__ import annotations

EC2_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
COMMON_ERRORS = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html"
S3_ERRORS = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
STATUS = "a HEAD has no body: botocore makes the code of the HTTP status, or of its name"
THROTTLING = "botocore retries it: ThrottledRetryableChecker of botocore.retries.standard"

# EC2's model names no error at all, S3's hardly any, and no model those that all services share.
ERROR_CODES: dict[str, str] = {
    **dict.fromkeys(
        (
            "AuthFailure",
            "DryRunOperation",
            "IdempotentParameterMismatch",
            "InsufficientCapacity",
            "InsufficientInstanceCapacity",
            "InstanceLimitExceeded",
            "InternalError",
            "InvalidAction",
            "InvalidGroup.Duplicate",
            "InvalidInstanceType",
            "InvalidKeyPair.NotFound",
            "InvalidLaunchTemplateName.NotFoundException",
            "InvalidParameterCombination",
            "InvalidParameterValue",
            "InvalidPermission.Duplicate",
            "InvalidSnapshot.InUse",
            "InvalidSubnetID.NotFound",
            "MaxSpotInstanceCountExceeded",
            "OptInRequired",
            "RequestExpired",
            "RequestLimitExceeded",
            "SpotMaxPriceTooLow",
            "Unavailable",
            "UnauthorizedOperation",
            "UnfulfillableCapacity",
            "VcpuLimitExceeded",
        ),
        EC2_ERRORS,
    ),
    "Client.RequestLimitExceeded": "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html",
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InternalFailure",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "NotAuthorized",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
            "UnknownOperationException",
            "UnrecognizedClientException",
        ),
        COMMON_ERRORS,
    ),
    **dict.fromkeys(("RequestThrottled", "ThrottledException"), THROTTLING),
    **dict.fromkeys(
        ("RequestInTheFuture", "RequestTimeTooSkewed", "SignatureDoesNotMatch"),
        "https://docs.aws.amazon.com/sdkref/latest/guide/feature-clock-skew.html",
    ),
    **dict.fromkeys(
        (
            "BadDigest",
            "ConditionalRequestConflict",
            "IncompleteBody",
            "InvalidAccessKeyId",
            "NoSuchBucketPolicy",
            "NoSuchLifecycleConfiguration",
            "NoSuchObjectLegalHold",
            "NoSuchObjectLockConfiguration",
            "NoSuchPublicAccessBlockConfiguration",
            "NoSuchTagSet",
            "NotImplemented",
            "ObjectLockConfigurationNotFoundError",
            "OperationAborted",
            "OwnershipControlsNotFoundError",
            "PermanentRedirect",
            "PreconditionFailed",
            "ReplicationConfigurationNotFoundError",
            "RequestTimeout",
            "ServerSideEncryptionConfigurationNotFoundError",
            "SlowDown",
            "TokenRefreshRequired",
            "TooManyBuckets",
            "XAmzContentChecksumMismatch",
            "XAmzContentSHA256Mismatch",
        ),
        S3_ERRORS,
    ),
    **dict.fromkeys(("301", "403", "404", "501", "Forbidden", "NotFound"), STATUS),
}

# Members that botocore adds itself, or that are of documents within a text.
MEMBERS: dict[str, str] = {
    **dict.fromkeys(("ResponseMetadata", "HTTPStatusCode", "HTTPHeaders"), "botocore adds it to each answer"),
    **dict.fromkeys(
        (
            "Sid",
            "Effect",
            "Statement",
            "Principal",
            "Action",
            "Resource",
            "Condition",
            "Service",
            "StringEquals",
            "StringLike",
            "ArnEquals",
            "Null",
            "Bool",
        ),
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html",
    ),
    **dict.fromkeys(
        ("AccessKeyId", "SecretAccessKey", "SessionToken", "AccountId", "Credentials"),
        "https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html",
    ),
    "NotBefore": "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_scheduled_events.html",
    "OnDemand": "https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html",
}

IAM_GRAMMAR = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html"
GPU_NAMES = "the model has no list of GPUs; https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html"
CLI_EXAMPLE = "the examples of https://docs.aws.amazon.com/cli/latest/reference/ec2/describe-fleet-history.html, beside the model"
OURS_TO_NAME = "a name that we give"
# (member, value): values of members for which the model has no list.
VALUES: dict[tuple[str, str], str] = {
    ("EventType", "instanceChange"): CLI_EXAMPLE,
    ("EventType", "fleetRequestChange"): CLI_EXAMPLE,
    ("Code", "NoSuchKey"): S3_ERRORS,
    ("Ebs", "SnapshotId"): "a member, not a value",
    ("Delimiter", "/"): "https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-prefixes.html",
    ("IfNoneMatch", "*"): "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html",
    ("Version", "2012-10-17"): IAM_GRAMMAR,
    ("Effect", "Allow"): IAM_GRAMMAR,
    ("Effect", "Deny"): IAM_GRAMMAR,
    ("Principal", "*"): IAM_GRAMMAR,
    ("Action", "s3:*"): IAM_GRAMMAR,
    ("Action", "sts:AssumeRole"): "test_policies.py asks a simulator for all actions",
    ("ActionNames", "iam:GetUser"): "test_policies.py asks a simulator for all actions",
    (
        "Service",
        "ec2.amazonaws.com",
    ): "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html",
    ("Sid", "Ec2Instances"): OURS_TO_NAME,
    ("Principal", "AWS"): IAM_GRAMMAR,
    ("Sid", "F1tenthTrainingTlsOnly"): OURS_TO_NAME,
    ("Version", "1"): "the first version of a launch template",
    ("Rules", "ApplyServerSideEncryptionByDefault"): "a member, not a value",
    ("Rules", "BucketKeyEnabled"): "a member, not a value",
    ("Name", "Run"): OURS_TO_NAME + ": the dimension of a metric",
    ("Description", "Training machines: nothing comes in unless open_ports_to says so"): OURS_TO_NAME,
    ("Description", "What a training machine of the project may do"): OURS_TO_NAME,
    ("CidrIp", "0.0.0.0/0"): "a range of addresses",
    ("IpProtocol", "tcp"): "in the documentation of the member alone: tcp, udp, icmp, icmpv6, a number, -1",
    (
        "ProductDescriptions",
        "Linux/UNIX",
    ): "enumerated as RIProductDescription for answers, not for this request",
    ("OwnerIds", "self"): "in the documentation of the member alone: an account, self, amazon",
    ("Versions", "$Latest"): "in the documentation of the member alone: $Latest, $Default, a number",
    ("Versions", "$Default"): "in the documentation of the member alone: $Latest, $Default, a number",
    ("Owners", "self"): "in the documentation of the member alone: an account, self, amazon, aws-marketplace",
    (
        "ServiceCode",
        "AmazonEC2",
    ): "https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html",
    (
        "ServiceCode",
        "ec2",
    ): "https://docs.aws.amazon.com/servicequotas/latest/userguide/reference_limits.html",
    ("Manufacturer", "NVIDIA"): GPU_NAMES,
    ("Name", "K520"): GPU_NAMES,
    ("Name", "K80"): GPU_NAMES,
    ("Name", "M60"): GPU_NAMES,
    ("Name", "V100"): GPU_NAMES,
    ("IpRanges", "CidrIp"): "a member, not a value: held against the model as one by test_security_group.py",
    (
        "Ipv6Ranges",
        "CidrIpv6",
    ): "a member, not a value: held against the model as one by test_security_group.py",
    (
        "PrefixListIds",
        "PrefixListId",
    ): "a member, not a value: held against the model as one by test_security_group.py",
    (
        "UserIdGroupPairs",
        "GroupId",
    ): "a member, not a value: held against the model as one by test_security_group.py",
}

# Filters are named in the documentation of the operations that take them; (filter, value) are values that no
# enumeration of the model has.
FILTER_VALUES: dict[tuple[str, str], str] = {
    ("EventType", "instanceChange"): CLI_EXAMPLE,
    ("EventType", "fleetRequestChange"): CLI_EXAMPLE,
    ("Code", "NoSuchKey"): S3_ERRORS,
    ("Ebs", "SnapshotId"): "a member, not a value",
    ("is-default", "true"): "a truth value as text",
}
# The enumeration that the values of a filter are of.
FILTER_MEMBERS = {"instance-state-name": "Name", "status": "State", "state": "State"}

# What is compared with something that is no answer of AWS, or with a part of one that has no enumeration.
COMPARED: dict[str, tuple[str, ...]] = {
    "states and requests of a run (store/documents.py), and causes of an attempt's end": (
        "done", "failed", "stopped", "stopping", "running", "pending", "launching", "interrupted", "unknown",
        "at_once", "at_checkpoint", "local",
    ),
    "purchase options of the command line, which are also UsageClassType of the model": ("spot", "on-demand"),
    "actions of a step of `up`": ("keep", "make", "update", "refuse"),
    "whose a bucket is (bucket.py)": ("created", "shared", "unmarked", "other"),
    "policies of people, by what they are for (people_policies.py)": ("keys",),
    "parts of policies, which permissions.py reads: " + IAM_GRAMMAR: (
        "*", ":*", "/*", "Null", "iam:", "ec2:CreateAction", "ec2:CreateFleet", "instance-profile",
        "${aws:username}", "${aws:userid}",
    ),
    "kinds of policies in a refusal: "
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html": (
        "identity-based policy", "service control policy", "resource control policy", "permissions boundary",
        "session policy", "VPC endpoint policy",
    ),
    "what the names of Identity Center's roles begin with: "
    "https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html": (
        "AWSReservedSSO_",
    ),
    "answers of a probe and of a trial, for people": ("denied", "not asked", "works"),
    "kinds of an instance-change in a fleet's history, which the model does not enumerate: "
    "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/fleet-monitor.html": ("launched",),
    "what our programs call themselves in a machine's console": ("f1tenth-",),
    "what botocore adds to an answer": ("ResponseMetadata",),
    "kinds of what gc finds": (
        "fleet", "machine", "volume", "launch template", "instance profile", "role",
    ),
    "settings and their groups": ("none", "my-ip", "aws", "aws."),
    "commands and answers at a terminal": ("build", "prune", "train", "ssh", "y", "yes"),
    "names of files, their endings, environment variables": (
        "__main__", "__pycache__", ".py", ".sha256", ".json", ".yaml", ".html", ".j2", ".csv", ".png", ".css",
        ".js", ".svg", ".zip", "/opt/f1tenth/maps/", "AWS_", "AWS_PROFILE", "HOME",
    ),
    "nothing": ("",),
    "addresses, protocols, and what a URL begins with": (
        "0.", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "-1", "tcp", "http://",
    ),
    "regions; botocore knows them all": ("us-east-1", "us-east-2", "us-west-2"),
    "a service by the name that botocore has for it": ("pricing",),
    "members of requests and answers that are looked for by name": (
        "NextToken", "Bucket", "Policy", "PolicyDocument", "AssumeRolePolicyDocument", "PrefixListIds",
    ),
    "parts of ARNs and ids: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, "
    "https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html": (
        "arn:", ":ec2:", ":assumed-role/", "alias/", "alias/aws/s3", "assumed-role", "root", "igw-", "nat-",
    ),
    "beginnings of error codes: InvalidParameterValue, InvalidParameterCombination": ("InvalidParameter",),
    "endings of error codes, which stand for all that end so: " + EC2_ERRORS: (
        ".NotFound", ".NotFoundException", ".Duplicate", ".Unknown", "LimitExceeded", "LimitExceededException",
        "AlreadyExistsException",
    ),
    "exceptions of botocore, by name": (
        "EndpointConnectionError", "ProfileNotFound", "CredentialRetrievalError", "MetadataRetrievalError",
    ),
    "methods of credentials, keys of a profile and of credential_process, in botocore's own code": (
        "container-role", "iam-role", "env", "login_session", "expiry_time", "mfa_serial", "assume-role",
    ),
    "OpenSSL's word in an exception": ("CERTIFICATE_VERIFY_FAILED",),
    "kinds of notices (imds.py)": ("interruption",),
    "the unit of an hour: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/"
    "reading-service-price-list-file-for-services.html": ("Hrs",),
}  # fmt: skip
