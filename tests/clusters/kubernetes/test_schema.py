"""jobs/rayjob*.yaml against the schemas of KubeRay's releases, which are downloaded or in PHOENIX_RAY_RAYJOB_CRD."""

from __future__ import annotations

import copy
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters.kubernetes.schema import errors, schemas
from tests.test_rayjob import NAMES, read

# A file ray.io_rayjobs.yaml, or several with `:` between them.
FILES = "PHOENIX_RAY_RAYJOB_CRD"
# The oldest that docs/cluster.md names, and the newest that was looked at.
RELEASES = ("v1.6.0", "v1.7.0")
ADDRESS = (
    "https://raw.githubusercontent.com/ray-project/kuberay/{}/helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml"
)


@pytest.fixture(scope="module")
def definitions() -> dict[str, dict[str, Any]]:
    """The CustomResourceDefinition of each release."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if files := os.environ.get(FILES):
        return {path: yaml.load(Path(path).read_text(), loader) for path in files.split(os.pathsep)}
    try:
        return {release: yaml.load(download(ADDRESS.format(release)), loader) for release in RELEASES}
    except OSError as error:
        pytest.skip(f"KubeRay's schema cannot be downloaded ({error}), and {FILES} names no file with it")


def download(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        content: bytes = answer.read()
    return content


def found_errors(job: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> list[str]:
    return [
        f"{release}: {error}"
        for release, definition in definitions.items()
        for error in errors(job, schemas(definition)["v1"])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_what_kuberay_accepts(name: str, definitions: dict[str, dict[str, Any]]) -> None:
    assert found_errors(read(name), definitions) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backoffLimit", "0", "spec/backoffLimit: '0' is not of type integer"),
        ("submissionMod", "HTTPMode", "spec: there is no field submissionMod"),
        ("rayClusterSpec.authOptions.mode", "tokens", "'tokens' is not one of"),
        ("rayClusterSpec.headGroupSpec.template.spec.terminationGracePeriod", 1, "no field terminationGracePeriod"),
        ("rayClusterSpec.headGroupSpec.template.spec.containers", [{"image": "x"}], "the field name is missing"),
    ],
)
def test_the_check_finds_mistakes(path: str, value: Any, message: str, definitions: dict[str, dict[str, Any]]) -> None:
    job = copy.deepcopy(read("rayjob.yaml"))
    *folders, name = path.split(".")
    place = job["spec"]
    for folder in folders:
        place = place[folder]
    place[name] = value
    found = found_errors(job, definitions)
    assert len(found) >= len(definitions)
    assert message in found[0]
