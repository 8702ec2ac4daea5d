"""Compiles recorded launches without a GPU, and counts what is in the code. Run as a program, it is one compiler.

A process has either Triton's interpreter or its compiler, so `compile_launches` starts others without the interpreter.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch

ROOT = Path(__file__).parents[5]
# Compute capabilities: A100; H100 and H200; B200.
TARGETS = (80, 90, 100)
PROCESSES = 2


@dataclass(frozen=True)
class Compiled:
    """A variant of a kernel, compiled; counts are of instructions in the code, each standing for one or two results.

    Attributes:
        kernel: Name of the kernel.
        target: Compute capability times 10.
        constants: Its compile-time parameters.
        types: Its other parameters' types.
        warps: Warps of a program.
        registers: Registers of a thread.
        stack: Bytes of a thread in memory, for registers that were spilled.
        shared: Bytes of a program in shared memory that are known when it is compiled, by the assembler.
        fma: Fused multiply-adds of float32.
        mul: Multiplications of float32.
        add: Additions and subtractions of float32.
        findings: What code with the bits of the array code has none of: 'mma', '.ftz', 'approx', 'div.full',
            'fma.f64'.
        doubles: Constants of float64.
    """

    kernel: str
    target: int
    constants: dict[str, Any]
    types: dict[str, str]
    warps: int
    registers: int
    stack: int
    shared: int
    fma: int
    mul: int
    add: int
    findings: list[str]
    doubles: list[str]

    def __str__(self) -> str:
        return f"{self.kernel} for sm_{self.target} {self.constants} {sorted(set(self.types.values()))}"


def compile_launches(
    launches: Iterable[Launch],
    targets: Sequence[int] = (90,),
    most_variants: int | None = None,
    known: Iterable[Launch] = (),
) -> list[Compiled]:
    """Compile each variant among launches once for each target.

    Args:
        launches: From `launching.recording`.
        targets: Of `TARGETS`.
        most_variants: Of each kernel, the first that are compiled; by default all.
        known: Launches whose variants are left out.
    """
    work = {
        "requests": requests_of(launches),
        "known": requests_of(known),
        "targets": list(targets),
        "most_variants": most_variants,
    }
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    with tempfile.TemporaryDirectory() as cache:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment |= {"TRITON_CACHE_DIR": cache, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(share)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
            )
            for share in range(PROCESSES)
        ]
        for process in running:
            assert process.stdin is not None
            process.stdin.write(pickle.dumps(work))
            process.stdin.close()
        found: list[Compiled] = []
        for process in running:
            assert process.stdout is not None
            found += [Compiled(**json.loads(line)) for line in process.stdout if line.startswith(b"{")]
        assert not any(process.wait() for process in running), "a compiler failed: see its output above"
    return found


def requests_of(launches: Iterable[Launch]) -> list[dict[str, Any]]:
    """Return what another process must know of launches, once for launches that are alike."""
    requests: dict[str, dict[str, Any]] = {}
    for launch in launches:
        function = getattr(launch.kernel, "fn", launch.kernel)
        request = {
            "module": function.__module__,
            "kernel": function.__name__,
            "types": dict(launch.types),
            "constants": dict(launch.constants),
            "warps": launch.warps,
            "stages": launch.stages,
            "multiples": sorted(launch.multiples),
            "ones": sorted(launch.ones),
        }
        requests[repr(request)] = request
    return list(requests.values())


def variants_of(requests: Sequence[Mapping[str, Any]], most: int | None) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return, by a key of each variant that Triton would make, the kernel and the arguments of `ASTSource`."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    counts: dict[str, int] = {}
    for request in requests:
        kernel = getattr(importlib.import_module(request["module"]), request["kernel"])
        signature, constants, attributes = {}, {}, {}
        for position, parameter in enumerate(kernel.params):
            name = parameter.name
            if name in request["constants"]:
                signature[name], constants[name] = "constexpr", request["constants"][name]
                continue
            signature[name] = request["types"][name]
            if parameter.do_not_specialize:
                continue
            if name in request["ones"]:
                signature[name], constants[name] = "constexpr", 1
            elif name in request["multiples"] and not parameter.do_not_specialize_on_alignment:
                attributes[position] = [["tt.divisibility", 16]]
        source = {"signature": signature, "constexprs": constants, "attrs": attributes}
        key = repr((request["module"], request["kernel"], source, request["warps"], request["stages"]))
        if key not in found and (most is None or counts.get(request["kernel"], 0) < most):
            counts[request["kernel"]] = counts.get(request["kernel"], 0) + 1
            found[key] = (kernel, {**request, **source})
    return found


def _compile(kernel: Any, variant: Mapping[str, Any], target: int) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(variant["signature"])
    source = ASTSource(
        fn=kernel,
        signature=variant["signature"],
        constexprs={(names.index(name),): value for name, value in variant["constexprs"].items()},
        attrs={(position,): value for position, value in variant["attrs"].items()},
    )
    options = {"num_warps": variant["warps"], "num_stages": variant["stages"], "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    code = compiled.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout

    def used(what: str) -> int:
        return max(int(number) for number in re.findall(rf"{what}:(\d+)", usage))

    def count(instruction: str) -> int:
        # From sm_100 on there are instructions for two numbers.
        return sum(1 + bool(pair) for pair in re.findall(rf"\b{instruction}(?:\.rn)?\.f32(x2)? ", code))

    banned = {
        "mma": r"mma",
        ".ftz": r"\.ftz",
        "approx": r"\.approx",
        "div.full": r"div\.full",
        "fma.f64": r"\bfma\.rn\.f64",
    }
    return Compiled(
        kernel=variant["kernel"],
        target=target,
        constants=dict(variant["constants"]),
        types={name: kind for name, kind in variant["signature"].items() if kind != "constexpr"},
        warps=variant["warps"],
        registers=used("REG"),
        stack=used("STACK"),
        shared=int(compiled.metadata.shared),
        fma=count("fma"),
        mul=count("mul"),
        add=count("add") + count("sub"),
        findings=[name for name, pattern in banned.items() if re.search(pattern, code)],
        doubles=sorted(set(re.findall(r"0d[0-9A-F]{16}", code))),
    )


def _main() -> None:
    work = pickle.load(sys.stdin.buffer)
    share = int(sys.argv[1])
    known = variants_of(work["known"], None)
    variants = {
        key: made for key, made in variants_of(work["requests"], work["most_variants"]).items() if key not in known
    }
    for number, (kernel, variant) in enumerate(variants.values()):
        if number % PROCESSES == share:
            for target in work["targets"]:
                print(json.dumps(asdict(_compile(kernel, variant, target)), default=str), flush=True)


if __name__ == "__main__":
    _main()
