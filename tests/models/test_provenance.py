from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance, registry

AVX512 = "arch=x86_64 isa=avx512 litert=2.3.0 numpy=2.4.6 opencv=4.13.0.92"
AVX2 = "arch=x86_64 isa=avx2 litert=2.2.0 numpy=2.2.6 opencv=4.11.0.86"
ARM = "arch=aarch64 isa=neon litert=2.3.0 numpy=2.4.6 opencv=4.13.0.92"
OLD_LITERT = "arch=x86_64 isa=avx2 litert=1.4.0 numpy=2.4.6 opencv=4.13.0.92"
GPU = "arch=x86_64 isa=avx512 device=NVIDIA_H100 torch=2.13.0"


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Has `_processor_flags` read anew, and forgotten after the test."""
    provenance._processor_flags.cache_clear()
    monkeypatch.setattr(provenance, "Path", lambda _: tmp_path / "cpuinfo")
    yield monkeypatch
    provenance._processor_flags.cache_clear()


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "architecture", "instruction_set"),
    [
        ("x86_64", "flags\t\t: fpu sse4_2 fma avx2 avx512f\n", "x86_64", "avx512"),
        ("AMD64", "flags\t\t: fpu sse4_2 fma avx2\n", "x86_64", "avx2"),
        ("x86_64", "flags\t\t: fpu sse4_2 avx\n", "x86_64-without-fma", "sse4"),
        ("aarch64", "Features\t: fp asimd sve\n", "aarch64", "sve"),
        ("arm64", None, "aarch64", "unknown"),
        ("riscv64", None, "riscv64", "unknown"),
    ],
)
def test_a_processor_is_known_by_what_decides_its_arithmetic(
    processor: pytest.MonkeyPatch,
    tmp_path: Path,
    machine: str,
    cpuinfo: str | None,
    architecture: str,
    instruction_set: str,
) -> None:
    processor.setattr("platform.machine", lambda: machine)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text("processor\t: 0\n" + cpuinfo)
    assert (provenance.architecture(), provenance.instruction_set()) == (architecture, instruction_set)


def test_kernels_name_the_versions_that_compute() -> None:
    line = registry.kernels(ModelSettings(engine="litert"))
    assert f"litert={importlib.metadata.version('ai-edge-litert')}" in line.split(" ")
    assert f"numpy={importlib.metadata.version('numpy')}" in line.split(" ")
    assert f"arch={provenance.architecture()}" in line.split(" ")


def test_the_name_of_a_gpu_is_one_word() -> None:
    assert "device=NVIDIA_H100_80GB" in provenance.describe_kernels((), "NVIDIA H100 80GB").split(" ")


def test_kernels_with_the_same_bits_are_not_told_apart() -> None:
    assert provenance.compare_kernels([AVX512]) is None
    assert provenance.compare_kernels([AVX512, AVX2]) is None


def test_the_distance_of_unlike_kernels_is_what_was_measured() -> None:
    assert "up to 1.25 px" in str(provenance.compare_kernels([AVX512, AVX2, ARM]))


def test_a_model_without_networks_is_the_same_everywhere() -> None:
    lines = [registry.kernels(ModelSettings(name="synthetic")), "arch=aarch64 isa=sve numpy=2.2.6 opencv=4.11.0.86"]
    assert provenance.compare_kernels(lines) is None


@pytest.mark.parametrize(
    ("some", "others"),
    [
        (ARM, ARM.replace("neon", "sve")),
        ("arch=x86_64 isa=avx512 mediapipe=0.10.21", "arch=x86_64 isa=avx2 mediapipe=0.10.21"),
        ("arch=x86_64 isa=avx2 mediapipe=0.10.21", "arch=x86_64 isa=avx2 mediapipe=0.10.20"),
    ],
)
def test_instruction_sets_that_were_never_compared_are_not_called_the_same(some: str, others: str) -> None:
    assert "not been measured" in str(provenance.compare_kernels([some, others]))
    assert provenance.compare_kernels([some]) is None


@pytest.mark.parametrize("others", [OLD_LITERT, GPU, "nothing that can be read"])
def test_a_distance_that_was_not_measured_is_not_invented(others: str) -> None:
    assert "not been measured" in str(provenance.compare_kernels([AVX512, others]))


def test_a_machine_that_computes_the_same_is_welcome() -> None:
    settings = ModelSettings(engine="litert")
    registry.refuse_other_machine(settings, registry.facts(settings).identity)


@pytest.mark.parametrize(("field", "value"), [("architecture", "sparc"), ("litert", "1.4.0")])
def test_a_machine_that_would_compute_other_landmarks_is_refused(field: str, value: str) -> None:
    settings = ModelSettings(engine="litert")
    recorded = {**registry.facts(settings).identity, field: value}
    with pytest.raises(ModelError, match=rf"{field}: {value} → .*model\.architecture"):
        registry.refuse_other_machine(settings, recorded)


def test_a_named_architecture_is_the_identitys_whatever_machine_asks() -> None:
    named = ModelSettings(engine="litert", architecture="aarch64")
    assert registry.facts(named).identity["architecture"] == "aarch64"


def test_the_architecture_does_not_matter_where_a_gpu_computes() -> None:
    assert "architecture" not in registry.facts(ModelSettings(engine="torch", device="cuda")).identity
    assert "architecture" in registry.facts(ModelSettings(engine="torch", device="cpu")).identity


def test_versions_of_onnxruntime_that_give_the_same_bits_are_one_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for version in ("1.30.0", "1.32.0", "1.27.0"):
        monkeypatch.setattr(provenance, "onnxruntime_version", lambda version=version: version)
        found.append(provenance.onnxruntime_generation())
    assert found == ["1.30-1.32", "1.30-1.32", "1.27.0"]


def test_rows_of_other_generations_of_onnxruntime_are_not_called_the_same() -> None:
    old, new, newest = (f"arch=x86_64 isa=avx512 onnxruntime={version}" for version in ("1.23.2", "1.31.1", "1.32.0"))
    assert provenance.compare_kernels([new, newest]) is None
    assert "not been measured" in str(provenance.compare_kernels([old, new]))


def test_only_x86_is_divided_by_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    for kind, vectors in (("x86_64", "avx512"), ("x86_64", "avx2"), ("x86_64-without-fma", "sse4"), ("aarch64", "sve")):
        monkeypatch.setattr(provenance, "architecture", lambda kind=kind: kind)
        monkeypatch.setattr(provenance, "instruction_set", lambda vectors=vectors: vectors)
        kinds.append(provenance.vector_architecture())
    assert kinds == ["x86_64-avx512", "x86_64-avx2", "x86_64-without-fma", "aarch64"]
    assert [provenance.without_vectors(kind) for kind in kinds] == ["x86_64", "x86_64", "x86_64-without-fma", "aarch64"]


def test_other_engines_have_one_kind_for_all_instructions() -> None:
    named = ModelSettings(engine="litert", architecture="x86_64-avx512")
    assert registry.facts(named).identity["architecture"] == "x86_64"
