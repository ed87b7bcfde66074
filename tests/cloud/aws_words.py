"""Words of AWS that are in no service model of botocore, each group with the page that has them.

The literals of the code that meet AWS are found in the models, or here, or they are faults.
"""

from __future__ import annotations

EC2_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
COMMON_ERRORS = "https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html"
SIGNING = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"
S3_ERRORS = "https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"

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
            "InvalidPermission.Duplicate",
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
    **dict.fromkeys(
        (
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "InternalFailure",
            "InvalidClientTokenId",
            "NotAuthorized",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
            "UnrecognizedClientException",
        ),
        COMMON_ERRORS,
    ),
    **dict.fromkeys(("IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch"), SIGNING),
}
