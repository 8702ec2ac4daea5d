"""The rules of the house that a tool can check: size of modules, names, and phrases that make a reader stumble."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "phoenix_ray").rglob("*.py"))
TEXTS = [
    *MODULES,
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("configs/*.yaml")),
    *sorted(ROOT.glob("jobs/*")),
]

MOST_LINES = 350
# Modules that are longer, each with the reason why it is not split.
LONG_MODULES: dict[str, str] = {}

# Public names that more than one module defines, each with the reason.
SHARED_NAMES = dict.fromkeys(
    ("landmarks_to_transform", "sample_bilinear", "transform_landmarks", "refine_face"),
    "torch_engine.kernels starts a kernel with the bits of the function of that name in the array code",
)

# Each with what to write instead.
PHRASES = {
    r"\b[Tt]old\b|(?<!\.)(?<!def )\b[Tt]ells?\b|\b[Tt]elling\b": "say, report, record",
    r"(?<![Tt]here )\bis no (?!longer\b|more than\b)[a-z]+": "is not a …",
    r"\b[Tt]ake note\b": "Called when …",
    r"\bin nobody's way\b|\bof no use to\b": "harmless; not part of …",
    r"\b[Oo]f the run\.$|^\s*\w+: Of the \w+\.$": "The run's …",
    r"\bwhat it was begun with\b|\bgoes on with what\b": "keeps its …",
    r"\bis had\b|\bare had\b|\bcan be had\b|\bcannot be had\b": "is available",
    r"\bwhat it is of\b|\bare said of it\b": "name it",
    r"\btrembling\b|\bis worth having\b": "plain words",
    r"\+= \[[^\]]*\] if .* else \[\]": "if …: append",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_are_short_enough_to_read() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    long = {name: length for name, length in lengths.items() if length > MOST_LINES}
    assert long.keys() == LONG_MODULES.keys(), long


def test_modules_import_each_other_in_no_circle() -> None:
    """Imports inside of functions do not count: they run when both modules are there."""
    modules = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in MODULES}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        imports[module] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module in modules:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imports[module] |= {name if name in modules else node.module for name in names} - {module}
    assert list(TopologicalSorter(imports).static_order())


def test_a_public_name_means_one_thing() -> None:
    places = defaultdict(set)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and not _is_kernel(node)):
                places[node.name].add(name_of(path))
    public = {name: modules for name, modules in places.items() if not name.startswith("_")}
    shared = {name: sorted(modules) for name, modules in public.items() if len(modules) > 1}
    assert shared.keys() == SHARED_NAMES.keys(), "\n".join(f"{name}: {modules}" for name, modules in shared.items())


def _is_kernel(node: ast.FunctionDef) -> bool:
    """Return whether Triton compiles a function; it is called like the function of the array code that it equals."""
    return any(ast.unparse(decorator).startswith("triton.jit") for decorator in node.decorator_list)


def test_no_variable_is_called_one() -> None:
    """A noun says what it holds."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id == "one" and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.arg) and node.arg == "one")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_phrase_makes_a_reader_stumble(phrase: str) -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(phrase, line)
    ]
    assert not found, f"write {PHRASES[phrase]!r}:\n" + "\n".join(found)
