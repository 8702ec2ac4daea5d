from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from phoenix_ray.errors import ConfigError
from phoenix_ray.object_stores import SCHEMES, Bucket, BucketError, explain, is_object_store, open_bucket, reason


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_REGION": "eu-central-1",
        "AZURE_STORAGE_ACCOUNT_NAME": "lab",
    }.items():
        monkeypatch.setenv(name, value)


def test_a_uri_says_which_store_and_where_in_it() -> None:
    s3 = open_bucket("s3://bucket/a b/%41/split=x/")
    assert isinstance(s3.store, S3Store)
    assert (s3.root, s3.store.prefix) == ("s3://bucket/a b/%41/split=x", "a b/%41/split=x")
    assert isinstance(open_bucket("gs://bucket").store, GCSStore)
    assert isinstance(open_bucket("az://container/x").store, AzureStore)
    assert isinstance(open_bucket("abfs://container@account.dfs.core.windows.net/x").store, AzureStore)
    assert not is_object_store("/data/s3://x")
    assert not is_object_store("hf://datasets/x")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:///folder", "names no bucket"),
        ("s3://bucket//folder", "has an empty part"),
        ("s3://bucket/a/../b", "has an empty part, '.' or '..'"),
        ("S3://id:word@bucket", "holds credentials"),
        ("abfs://user:word@account.dfs.core.windows.net/x", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("s3://id:very/secret@bucket/x", "Take them out and set them in the environment: AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x?region=eu", "has options"),
        ("gs://user:word@bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_a_uri_with_more_or_less_than_a_place_is_refused_without_showing_it(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_bucket(uri)
    assert "very/secret" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_credential_with_a_line_end_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Secret made from a file often has; the client would crash on it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token\n")
    with pytest.raises(ConfigError, match="AWS_SESSION_TOKEN holds a line end"):
        open_bucket("s3://bucket/x")


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:9000", "store.example", "http://", "http://a b", "http://a:b:c", "http://[::1", "https://host:65536"],
)
def test_an_endpoint_that_is_no_address_is_refused_by_name(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would crash on it with its first request."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match=re.escape(f"AWS_ENDPOINT_URL is '{endpoint}': give http:// or https://")):
        open_bucket("s3://bucket/x")


def test_a_password_in_an_endpoint_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://user:word@store.example")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL is") as caught:
        open_bucket("s3://bucket/x")
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9000", "HTTPS://store.lab.example/", "http://[::1]:9000", "https://a-b.c/d/e%20f"]
)
def test_an_endpoint_is_an_address_with_or_without_a_port_and_a_path(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    open_bucket("s3://bucket/x")


def test_where_no_connection_can_be_made_the_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(BucketError, match="answers at AWS_ENDPOINT_URL"), explain(Bucket(MemoryStore(), "s3://b")):
        raise GenericError("Generic S3 error: HTTP error: error sending request")


def test_a_missing_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(ConfigError, match="needs AZURE_STORAGE_ACCOUNT_NAME"):
        open_bucket("az://container/x")


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (AlreadyExistsError("there"), FileExistsError, "there"),
        (PreconditionError("changed"), FileExistsError, "changed"),
        (PermissionDeniedError("403 Forbidden"), BucketError, "403 Forbidden. Set AWS_ACCESS_KEY_ID"),
        (GenericError("403 Forbidden: <?xml><Code>NotYours</Code>"), BucketError, "NotYours. Set AWS_ACCESS_KEY_ID"),
        (InvalidPathError("empty path segment"), BucketError, "empty path segment. Give the object another key"),
        (GenericError("404: <Code>NoSuchBucket</Code>"), BucketError, "there is no such bucket"),
        (GenericError("PUT http://169.254.169.254/latest"), BucketError, "no credentials were found"),
        (GenericError("503 Slow Down\n\nDebug source:\nx"), BucketError, "503 Slow Down. If the store was unavailable"),
    ],
)
def test_what_a_store_answers_is_told_with_a_way_out(raised: Exception, expected: type[Exception], said: str) -> None:
    def fail() -> None:
        with explain(Bucket(MemoryStore(), "s3://bucket")):
            raise raised

    with pytest.raises(expected, match=said) as caught:
        fail()
    assert "Debug" not in str(caught.value)


def test_of_an_answer_its_code_and_message_are_shown() -> None:
    answer = '<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>No.</Message><HostId>7</HostId></Error>'
    assert reason(GenericError(f"GET x - 404: {answer}\n\nDebug source: y")) == "GET x - 404: NoSuchKey No"


@given(st.text(max_size=50), st.sampled_from(["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_SAS_TOKEN"]))
def test_no_secret_of_the_environment_is_in_a_message(text: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, "k7Secret7k")
        assert "k7Secret7k" not in reason(GenericError(f"{text}k7Secret7k{text}"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_pickle_holds_the_uri_alone(scheme: str) -> None:
    bucket = open_bucket(f"{scheme}://bucket/folder")
    pickled = pickle.dumps(bucket)
    assert b"very-secret" not in pickled
    assert pickle.loads(pickled).root == bucket.root
