"""The notebook runs from its first cell to its last, alone and beside a Ray that its process has started.

Tests of single calls in a kernel are here too: what a notebook shows, and what its stop button does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from phoenix_ray.sources.sample import default_folder, write_sample_dataset
from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first-steps.ipynb"
RAY = "import ray\nray.init('local', num_cpus=1, include_dashboard=False)"
STILL_UP = "assert ray.is_initialized()\nray.shutdown()"
HTML, TEXT = "text/html", "text/plain"


@pytest.fixture(scope="module", autouse=True)
def kernels_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels find this checkout, start Rays of their own, and write the sample into a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RAY_")]:
            patch.delenv(name)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        write_sample_dataset(default_folder())
        yield


def run_cells(folder: Path, *cells: str) -> list[NotebookNode]:
    """Run cells in a kernel whose working directory is the folder, and return them with their outputs."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    return run_notebook(folder, notebook)


def run_notebook(folder: Path, notebook: NotebookNode) -> list[NotebookNode]:
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return list(client.execute().cells)


def shown(cell: NotebookNode, kind: str) -> str:
    """Return what a cell shows of a MIME type."""
    return "\n".join(output.data[kind] for output in cell.outputs if kind in output.get("data", {}))


def printed(cell: NotebookNode, name: str = "stdout") -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == name)


def test_it_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 10_000
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.cluster
@pytest.mark.parametrize("beside_ray", [False, True], ids=["alone", "beside a Ray that is up"])
def test_it_runs(tmp_path: Path, beside_ray: bool) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if beside_ray:
        notebook.cells = [new_code_cell(RAY), *notebook.cells, new_code_cell(STILL_UP)]
    code = [cell for cell in run_notebook(tmp_path, notebook) if cell.cell_type == "code"]
    first, again = code[1:3] if beside_ray else code[:2]
    assert "<b>finished</b>: 36 frames" in shown(first, HTML)
    assert '<progress style="width:20em" max="36" value="36">' in shown(first, HTML)
    assert "<th>left hand</th>" in shown(first, HTML)
    assert "Finished: every frame has its row." in printed(first)
    assert ("the cluster of this process" in printed(first)) == beside_ray
    assert "nothing to compute" in shown(again, HTML)
    assert "Starting" not in printed(again)
    # It has a red ground. A Ray that the user has started prints there what its workers say.
    assert beside_ray or not printed(first, "stderr")


@pytest.mark.cluster
def test_progress_false_shows_nothing_but_the_result(tmp_path: Path) -> None:
    call = 'phoenix_ray.extract(None, "out", config="demo", model="synthetic", max_videos_per_split=1, progress=False)'
    (cell,) = run_cells(tmp_path, f"import phoenix_ray\n{call}")
    assert [output.output_type for output in cell.outputs] == ["execute_result"]
    assert shown(cell, TEXT).startswith("<Extraction finished: ")


@pytest.mark.cluster
@pytest.mark.parametrize("before", ["", RAY], ids=["alone", "beside a Ray that is up"])
def test_the_command_runs_in_a_notebook(tmp_path: Path, before: str) -> None:
    command = "!{sys.executable} -m phoenix_ray.run --config demo output.path=out model.name=synthetic --num-workers 1"
    _, cell = run_cells(tmp_path, f"import sys\n{before}", f"{command} --max-videos-per-split 1\n_exit_code")
    assert "Finished: every frame has its row." in printed(cell)
    assert shown(cell, TEXT) == "0"


@pytest.mark.cluster
def test_the_stop_button_drains_and_the_same_call_goes_on(tmp_path: Path) -> None:
    settings = '{"source.kind": "synthetic", "cluster.shard_frames": 64}'
    words = f'model="synthetic", max_videos_per_split=3000, num_workers=1, settings={settings}'
    cells = [
        "import phoenix_ray, signal\nhandlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]",
        f'extraction = phoenix_ray.extract(None, "out", {words})',
        "assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
        "extraction.state, extraction.frames_computed == extraction.frames > 0",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    stopper = threading.Thread(target=interrupt_when_committed, args=(client, tmp_path / "out"))
    stopper.start()
    client.execute()
    stopper.join()
    assert shown(notebook.cells[2], TEXT) == "('stopped', True)"
    assert "the same call   # goes on from here" in shown(notebook.cells[1], HTML) + printed(notebook.cells[1])


def interrupt_when_committed(client: Any, output: Path) -> None:
    """Press the stop button as soon as a partition is there."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if any(output.glob("partitions/**/[0-9]*.parquet")):
            os.kill(client.km.provisioner.pid, 2)
            return
        time.sleep(0.05)
