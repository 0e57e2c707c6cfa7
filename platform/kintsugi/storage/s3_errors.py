"""What an object store's error means: by its code, whether it may pass and what mends it.

One table for reading, writing, listing and looking. Codes are Amazon's, MinIO's and Ceph's; where
an answer has no body (HEAD), the code is the HTTP status.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

_REGION = (
    "the bucket lies in another region or behind another endpoint: set AWS_REGION to {wanted}"
    " (it is {region} now), or correct AWS_ENDPOINT_URL ({endpoint})"
)
_CLOCK = "this machine's clock is wrong for the store: set it (NTP), then try again"
_TOKEN = (
    "the temporary credentials have expired or are incomplete: get new ones and set"
    " AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or unset AWS_SESSION_TOKEN"
    " for keys that have none"
)
_KEY = "the store at {endpoint} does not know this AWS_ACCESS_KEY_ID: check it, and the endpoint"
_SECRET = (
    "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID, or a proxy changes requests on"
    " their way: check both"
)
_RIGHTS = (
    "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY and what they may do: s3:ListBucket of the"
    " bucket; s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix"
)
_QUOTA = "the store is full or a quota is used up: delete what is not needed, or raise the quota"
_SIZE = "the object is larger than the store takes: write smaller ones, or raise its limit"
_ARCHIVED = (
    "the object is archived (Glacier or the like): restore it first, for instance with"
    " `aws s3api restore-object`, and try again when that is done"
)
_ACCOUNT = "the store's account is not in order: see its console or ask who pays for it"
_ENCRYPTION = (
    "the key that the object is encrypted with cannot be used: check that it is enabled (KMS), and"
    " that these credentials may use it"
)
_CHECKSUMS = (
    "the store does not understand what newer clients send along: set"
    " AWS_REQUEST_CHECKSUM_CALCULATION=when_required and"
    " AWS_RESPONSE_CHECKSUM_VALIDATION=when_required; otherwise a proxy changes the bytes"
)
_ARGUMENT = (
    "the store refuses the request as it is written: where it is not Amazon's, set"
    " AWS_REQUEST_CHECKSUM_CALCULATION=when_required; else check the names, and AWS_ENDPOINT_URL"
    " ({endpoint})"
)
_BUCKET = "create the bucket {bucket} or check AWS_ENDPOINT_URL ({endpoint})"
_MISSING = "check the URI"
_BUCKET_NAME = "{bucket} can be no bucket's name: correct the URI (s3://bucket/prefix)"
_LONG_NAME = "the name is longer than the store takes (1,024 bytes): shorten it"
_READ_ONLY = "the bucket is read-only or locked here: write to another one, or unlock it"
_BARE_REQUEST = (
    "the store gives no reason: most often a token has expired (AWS_SESSION_TOKEN) or the region"
    " is another (AWS_REGION, now {region})"
)
_BUSY = "the store is busy or gone for now: check that it runs, and AWS_ENDPOINT_URL ({endpoint})"

# What does not pass by itself: remedy -> codes.
_LASTING: dict[str, tuple[str, ...]] = {
    _REGION: (
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
        "IllegalLocationConstraintException",
        "IncorrectEndpoint",
        "InvalidRegionName",
        "301",
        "307",
        "308",
    ),
    _CLOCK: ("RequestTimeTooSkewed", "RequestExpired"),
    _TOKEN: (
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    ),
    _KEY: ("InvalidAccessKeyId",),
    _SECRET: ("SignatureDoesNotMatch", "InvalidSecurity"),
    _RIGHTS: ("AccessDenied", "AccessDeniedException", "Forbidden", "401", "403"),
    _QUOTA: (
        "XMinioAdminBucketQuotaExceeded",
        "XMinioStorageFull",
        "QuotaExceeded",
        "ServiceQuotaExceededException",
        "InsufficientStorage",
        "InsufficientCapacity",
        "TooManyBuckets",
        "507",
    ),
    _SIZE: ("EntityTooLarge", "MaxMessageLengthExceeded", "MetadataTooLarge", "413"),
    _ARCHIVED: ("InvalidObjectState", "RestoreAlreadyInProgress", "ObjectNotInActiveTierError"),
    _ACCOUNT: ("AccountProblem", "AllAccessDisabled", "NotSignedUp", "InvalidPayer", "402"),
    _CHECKSUMS: (
        "NotImplemented",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "BadDigest",
        "InvalidDigest",
        "MissingContentLength",
        "UnsupportedHeader",
        "411",
        "501",
    ),
    _ARGUMENT: ("InvalidArgument", "InvalidRequest", "InvalidPart", "MalformedXML"),
    _BUCKET: ("NoSuchBucket",),
    _MISSING: ("NoSuchKey", "NoSuchVersion", "404"),
    _BUCKET_NAME: ("InvalidBucketName", "InvalidURI"),
    _LONG_NAME: ("KeyTooLongError", "KeyTooLong", "414"),
    _READ_ONLY: ("MethodNotAllowed", "ObjectLocked", "InvalidBucketState", "405"),
    _BARE_REQUEST: ("400",),
}
_REMEDIES = {code: remedy for remedy, codes in _LASTING.items() for code in codes}
# Bytes that were lost or flipped on the way are sent again; where that never helps, a remedy above
# says what else it may be. A code that is not known is judged by its status.
_PASSING = {
    "BadDigest",
    "IncompleteBody",
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "OperationAborted",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "408",
    "429",
}


@dataclass(frozen=True)
class StoreAnswer:
    """What a store said.

    Attributes:
        code: Its code, or the HTTP status.
        message: Its words.
        may_pass: Whether the same request can succeed later.
        remedy: What to do.
    """

    code: str
    message: str
    may_pass: bool
    remedy: str


def read_answer(error: BaseException, bucket: str) -> StoreAnswer | None:
    """What the store answered where that is the cause of an error; None for any other cause."""
    response = _response(error)
    if response is None:
        return None
    about = response.get("Error", {})
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode") or 0)
    code = str(about.get("Code") or status)
    message = str(about.get("Message") or "")
    remedy = _ENCRYPTION if code.startswith("KMS") else _REMEDIES.get(code)
    passes = code in _PASSING or (remedy is None and str(status) in _PASSING)
    if remedy is None and not passes and 400 <= status < 500:
        remedy = _REMEDIES.get(str(status), _ARGUMENT)
    may_pass = passes or remedy is None
    words = (remedy or _BUSY).format(
        bucket=bucket,
        endpoint=os.environ.get("AWS_ENDPOINT_URL", "not set: Amazon's own"),
        region=region(),
        wanted=_region_in(about, metadata, message) or "the bucket's region",
    )
    return StoreAnswer(code, message, may_pass, words)


def region() -> str:
    """The region that the environment names, which botocore reads only half of."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _response(error: BaseException | None) -> dict[str, Any] | None:
    """Of botocore's error, which s3fs and asyncio wrap."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response
        error = error.__cause__
    return None


def _region_in(about: dict[str, Any], metadata: dict[str, Any], message: str) -> str:
    """The right region, where the answer names it."""
    named = re.search(r"expecting '([a-z0-9-]+)'", message)
    if named:
        return named[1]
    headers = metadata.get("HTTPHeaders") or {}
    return str(about.get("Region") or headers.get("x-amz-bucket-region") or "")
