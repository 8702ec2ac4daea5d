"""Nothing in the package runs what it reads: no plain unpickler, no unsafe YAML, no shell, no eval."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import phoenix_ray

PACKAGE = Path(phoenix_ray.__file__).parent
ALLOWED = {
    # Restricted: it holds the one list of classes that may be read.
    ("exports/pickles.py", "pickle.Unpickler"),
    # What the driver has packed itself, in its own memory.
    ("cluster/shard_queue.py", "pickle.loads"),
    # What the benchmark has just exported itself, read as users of pickles do.
    ("bench/storage.py", "pickle.loads"),
    # With a SafeLoader that knows fewer booleans.
    ("yaml_files.py", "yaml.load"),
}
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "marshal.loads"),
    *("marshal.load", "shelve.open", "joblib.load", "pandas.read_pickle", "dill.load", "dill.loads"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "eval", "exec"),
}
# Calls that are safe or not by an argument: (function, argument) → the value that it must have.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def unsafe(source: str, file: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = ast.unparse(node)
            if name in FORBIDDEN and (file, name) not in ALLOWED:
                found.append(f"{file}:{node.lineno} {name}")
        if isinstance(node, ast.Call):
            arguments = {word.arg: ast.literal_eval(word.value) for word in node.keywords if is_constant(word.value)}
            name, (argument, value) = ast.unparse(node.func), GUARDED.get(ast.unparse(node.func), ("shell", False))
            # numpy refuses pickles unless it is told otherwise.
            default = False if argument in ("shell", "allow_pickle") else None
            if arguments.get(argument, default) is not value:
                found.append(f"{file}:{node.lineno} {name}({argument}=…)")
    return found


def is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def test_the_package_loads_nothing_that_runs() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 50
    found = [
        line for file in files for line in unsafe(file.read_text(encoding="utf-8"), str(file.relative_to(PACKAGE)))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "pickle.loads(x)",
        "yaml.load(x)",
        "torch.load(x)",
        "np.load(x, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "eval(x)",
        "class A(pickle.Unpickler): pass",
    ],
)
def test_what_runs_its_input_is_found(source: str) -> None:
    assert unsafe(source, "x.py")


@pytest.mark.parametrize("source", ["np.load(x)", "torch.load(x, weights_only=True)", "yaml.safe_load(x)", "a.eval()"])
def test_what_is_safe_is_not(source: str) -> None:
    assert unsafe(source, "x.py") == []
