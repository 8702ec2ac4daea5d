"""Opens buckets of object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

Sources and outputs use it. A URI says where the data lies and nothing else: credentials and endpoints come from the
environment, where neither `ps` nor a log nor a dataset shows them. Requests are repeated while a store does not answer,
answers with an error of its own (5xx), or asks for a slower pace, so callers see only what outlasts
`RETRY_SECONDS`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_ray.errors import ConfigError
from phoenix_ray.text import without_secrets

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Answer = TypeVar("Answer")

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
# How long a request is repeated. A gateway restarts within it; a driver counts as dead after as long without heartbeat.
RETRY_SECONDS = 60
_RETRY: Mapping[str, Any] = {
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    # The time decides: pauses are drawn at random up to the backoff, so no number of retries says how long they take.
    "max_retries": 1000,
    "retry_timeout": timedelta(seconds=RETRY_SECONDS),
}
# A request whose connection is silent this long is repeated on another one.
_SILENCE = timedelta(seconds=30)
# Slower than this for a part of 8 MiB (`dataset.object_storage`), a store cannot be worked with.
_REQUEST_SECONDS = timedelta(seconds=300)
# What the client crashes on with its first request is not an address.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[\da-f:.]+\])(:(?P<port>\d{1,5}))?(/[\w%~.:/-]*)?", re.ASCII | re.I)
_LARGEST_PORT = 65_535
# What a store answers to a refused request, of which its code and message are worth reading.
_ANSWER = re.compile(r"<\?xml.*?<Code>([^<]*)</Code>(?:<Message>([^<]*)</Message>)?.*")
# In what the client says of an answer that broke off.
_BROKEN_OFF = "response body"
# In what the client says where it has no connection.
_NOT_SENT = "error sending request"
# Seconds before a request is repeated whose answer broke off.
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0)
_HIDDEN = "***"
_SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
    *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
    *("AZURE_STORAGE_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY"),
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, or what lies below a prefix of it.

    Attributes:
        store: The client; its keys are relative to the prefix. It can be used by many threads, but not after a fork.
        root: The URI, without a slash at the end.
    """

    store: ObjectStore
    root: str

    def __reduce__(self) -> tuple[Any, ...]:
        # Opened again from the environment of the other process, so that no credential is in a pickle.
        return open_bucket, (self.root,)


class BucketError(Exception):
    """A store refused a request, or did not answer for `RETRY_SECONDS`; the message is a reason and a way out."""


class BrokenOffError(BucketError):
    """An answer broke off. The client repeats that for the content of objects, not for listings and refusals."""


def is_object_store(path: str) -> bool:
    """Return whether a path is a URI of an object store that `open_bucket` opens."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme.lower() in SCHEMES


def open_bucket(uri: str) -> Bucket:
    """Open a bucket, or a prefix of one. No request is made.

    Raises:
        ConfigError: The URI has no bucket, or holds credentials or options; or the environment lacks what the store
            needs.
    """
    check_uri(uri)
    _check_environment()
    from obstore.exceptions import BaseError

    scheme, _, place = uri.partition("://")
    root = f"{scheme}://{place.rstrip('/')}"
    bucket, _, prefix = place.rstrip("/").partition("/")
    try:
        return Bucket(_open_store(scheme.lower(), bucket, prefix), root)
    except (BaseError, ValueError) as error:
        raise ConfigError(f"{root} cannot be opened: {reason(error)}. It needs {_variables(scheme)}.") from None


def check_uri(uri: str) -> None:
    """Refuse a URI that says more or less than a place.

    Raises:
        ConfigError: It has no bucket, holds credentials or options, or has a part that no key may have.
    """
    refuse_credentials(uri)
    scheme, _, place = uri.partition("://")
    if "?" in place:
        raise ConfigError(
            f"'{uri.partition('?')[0]}?…' has options. Set them in the environment: {_variables(scheme)}."
        )
    if not place.partition("/")[0]:
        raise ConfigError(f"'{uri}' names no bucket: give {scheme}://BUCKET/FOLDER.")
    if not {"", ".", ".."}.isdisjoint(place.rstrip("/").split("/")):
        raise ConfigError(f"'{uri}' has an empty part, '.' or '..', which no key may have here: give another folder.")


def refuse_credentials(uri: str) -> None:
    """Raise ConfigError for a URI with a user or a password."""
    scheme, _, place = uri.partition("://")
    before, at, _ = place.rpartition("@")
    # A secret key may hold slashes. In `abfs://CONTAINER@ACCOUNT…` the container stands before the `@`.
    if at and (":" in before or ("/" not in before and not scheme.lower().startswith("abfs"))):
        raise ConfigError(
            f"'{scheme}://…@…' holds credentials, which `ps` and logs would show. Take them out and set them in "
            f"the environment: {_variables(scheme)}."
        )


def _check_environment() -> None:
    """Refuse what the client would crash on: a line end, as a Secret made from a file often has, and a bad endpoint."""
    for name, value in os.environ.items():
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) and not value.isprintable():
            raise ConfigError(f"The environment variable {name} holds a line end or another control character.")
    name, endpoint = _endpoint()
    match = _ADDRESS.fullmatch(endpoint)
    if endpoint and not (match and int(match["port"] or 0) <= _LARGEST_PORT):
        raise ConfigError(
            f"{name} is '{without_secrets(endpoint)}': give http:// or https://, a host and, if need be, a port, for "
            "instance http://127.0.0.1:9000."
        )


@contextmanager
def explain(bucket: Bucket) -> Iterator[None]:
    """Turn the client's exceptions into those of a file system.

    Raises:
        FileNotFoundError: There is no such object, or no such bucket.
        FileExistsError: The object is there already (a conditional request).
        BrokenOffError: An answer broke off.
        BucketError: Anything else that the store, or the way to it, is to blame for.
    """
    from obstore import exceptions

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
        raise FileExistsError(reason(error)) from None
    except exceptions.InvalidPathError as error:
        raise BucketError(f"{reason(error)}. Give the object another key, or remove it") from None
    except exceptions.BaseError as error:
        text = reason(error)
        refused = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            raise BucketError(f"there is no such bucket ({text}). Make it, or give another one") from None
        if _BROKEN_OFF in text:
            raise BrokenOffError(f"{text}. Start the run again") from None
        if "169.254.169.254" in text or "metadata.google.internal" in text:
            scheme = bucket.root.partition("://")[0]
            raise BucketError(f"no credentials were found ({text}). Set {_variables(scheme)}") from None
        # A refused listing has no exception of its own.
        if refused or "403 Forbidden" in text or "401 Unauthorized" in text:
            scheme = bucket.root.partition("://")[0]
            raise BucketError(f"{text}. Set {_variables(scheme)} of an account that may work there") from None
        variable, endpoint = _endpoint()
        if _NOT_SENT in text and endpoint:
            text = f"{text}. Check whether the store answers at {variable}, and whether it begins with http or https"
        raise BucketError(f"{text}. If the store was unavailable for a while, start the run again") from None


def unbroken(request: Callable[[], Answer]) -> Answer:
    """Return the answer to a request, which is repeated where its answer breaks off.

    A request that makes an object on a condition may meet the object that its first attempt made.
    """
    from obstore.exceptions import GenericError

    for pause in PAUSES:
        try:
            return request()
        except GenericError as error:  # noqa: PERF203
            if _BROKEN_OFF not in str(error):
                raise
            time.sleep(pause)
    return request()


def reason(error: Exception) -> str:
    """Return the message of a client's exception on one line, without its debug output and without secrets."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    text = _ANSWER.sub(r"\1 \2", text).rstrip(".: ")
    for secret in filter(None, (os.environ.get(name) for name in _SECRETS)):
        text = text.replace(secret, _HIDDEN)
    return without_secrets(text)


def _open_store(scheme: str, bucket: str, prefix: str) -> ObjectStore:
    # Not `from_url`, which would decode percent signs: they are part of keys, as in all tools of these stores.
    from obstore.store import AzureStore, GCSStore, S3Store

    options: dict[str, Any] = {
        "prefix": prefix or None,
        "client_options": {
            "allow_http": _endpoint()[1].lower().startswith("http://"),
            "timeout": _REQUEST_SECONDS,
            "read_timeout": _SILENCE,
        },
        "retry_config": _RETRY,
    }
    if scheme in ("s3", "s3a"):
        return S3Store(bucket, **options, **_options_of_s3(bucket))
    if scheme == "gs":
        return GCSStore(bucket, **options)
    container, _, host = bucket.partition("@")
    if host:
        options["account_name"] = host.partition(".")[0]
    return AzureStore(container, **options)


def _endpoint() -> tuple[str, str]:
    """Return the variable that names the store's address, and its value; both empty where none is set."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
    return next(((name, value) for name in names if (value := os.environ.get(name))), ("", ""))


def _options_of_s3(bucket: str) -> dict[str, Any]:
    """Return what the client does not take from the environment by itself: endpoint, region, profiles."""
    config: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3"):
        config["endpoint"] = endpoint
    if not (_endpoint()[1] or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        with suppress(Exception):
            config["region"] = _region(bucket)
    options: dict[str, Any] = {"config": config} if config else {}
    if not os.environ.get("AWS_ACCESS_KEY_ID") and _has_profile():
        options["credential_provider"] = _profile()
    return options


def _region(bucket: str) -> str:
    """Return where Amazon keeps a bucket, by one request that needs no credentials."""
    from pyarrow.fs import resolve_s3_region

    region: str = resolve_s3_region(bucket)
    return region


def _has_profile() -> bool:
    shared = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    return bool(os.environ.get("AWS_PROFILE")) or Path(shared).expanduser().is_file()


def _profile() -> Any:
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise ConfigError(
            "Credentials lie in ~/.aws, and AWS_ACCESS_KEY_ID is not set. Install boto3, which reads them, on "
            "every node (`pip install boto3`); or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    return Boto3CredentialProvider()


def _variables(scheme: str) -> str:
    if scheme.startswith("s3"):
        return "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for other stores than Amazon's, AWS_ENDPOINT_URL"
    if scheme == "gs":
        return "GOOGLE_APPLICATION_CREDENTIALS"
    return "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
