from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.errors import EXIT_INTERRUPTED, EXIT_MODEL, EXIT_OUTPUT, EXIT_SOURCE, EXIT_USAGE
from tests.sources.made_up import write_frames


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from phoenix_ray.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('ray', 'numpy', 'cv2', 'pyarrow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["run", "plan", "status", "failures", "compact", "config", "models", "view"])
def test_every_command_has_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_switches_set_the_settings_they_stand_for() -> None:
    switches = ["--num-gpus", "4", "--workers-per-gpu", "2", "--splits", "dev,test", "--limit-frames", "9"]
    output = invoke("config", *switches, "model.threads=3").output
    for line in ("num_gpus: 4", "workers_per_gpu: 2", "splits: [dev, test]", "limit_frames: 9", "threads: 3"):
        assert any(shown.startswith("*") and shown.endswith(line) for shown in output.splitlines()), line


@pytest.mark.parametrize(
    "words",
    [
        ("vids", "out"),
        ("--source", "vids", "--output", "out"),
        ("source.path=vids", "output.path=out"),
        ("vids", "model.threads=3", "out"),
        ("model.threads=3", "vids", "out", "--num-workers", "2"),
    ],
)
def test_source_and_output_may_be_words_options_or_settings_in_any_order(words: tuple[str, ...]) -> None:
    shown = [line for line in invoke("config", *words).output.splitlines() if line.startswith("*")]
    assert "* source.path: vids" in shown
    assert "* output.path: out" in shown


@pytest.mark.parametrize("path", ["2024-01-01", "1e3", "null", "./a=b", "[x]", "a: b"])
def test_a_path_is_taken_as_it_is_written(path: str) -> None:
    assert f"* source.path: {path}" in invoke("config", path).output.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("vids", "out", "third"), "'third' is one word too many"),
        (("vids", "source.path=other"), "'vids' stands for source.path, which is given too"),
        (("--source", "other", "vids"), "'vids' stands for source.path, which is given too"),
        (("vids", "out", "model.engine"), "one word too many"),
        (("model.engine", "litert"), "write model.engine=VALUE"),
        (("vids", "engine=litert"), "Did you mean 'model.engine'?"),
        (("vids", "--engine", "litert"), "the setting is written model.engine=VALUE"),
        (("vids", "--source.kind=videos"), "the setting is written source.kind=VALUE"),
    ],
)
def test_words_that_make_no_sense_are_answered_with_the_way_out(words: tuple[str, ...], said: str) -> None:
    result = invoke("run", *words)
    assert result.exit_code == EXIT_USAGE
    assert said in result.output


def test_compact_takes_the_output_alone(tmp_path: Path) -> None:
    result = invoke("compact", str(tmp_path))
    assert result.exit_code == EXIT_OUTPUT
    assert f"{tmp_path} is not a dataset" in result.output


def test_an_unknown_setting_ends_with_the_usage_code() -> None:
    result = invoke("config", "model.engin=litert")
    assert result.exit_code == EXIT_USAGE
    assert "Did you mean 'model.engine'?" in result.output


def test_a_missing_source_ends_with_the_source_code(tmp_path: Path) -> None:
    result = invoke("run", f"source.path={tmp_path}/absent", f"output.path={tmp_path}/output", "model.name=synthetic")
    assert result.exit_code == EXIT_SOURCE
    assert f"{tmp_path}/absent" in result.output


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_missing_place_is_asked_for_with_the_words_to_type(command: str) -> None:
    for words in ((), ("vids",)):
        result = invoke(command, *words)
        assert result.exit_code == EXIT_USAGE
        assert f"`phoenix-ray {command} SOURCE OUTPUT`" in result.output


@pytest.mark.parametrize("output", ["source", "."])
def test_a_plan_refuses_the_places_that_a_run_refuses_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "source" / "clip", 2)
    planned, ran = (invoke(command, "source", output, "model.name=synthetic") for command in ("plan", "run"))
    assert planned.exit_code == ran.exit_code == EXIT_USAGE
    assert planned.output.splitlines()[-1] == ran.output.splitlines()[-1]
    assert "output.path" in planned.output.splitlines()[-1]


def test_a_missing_output_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "1.png").touch()
    assert invoke("run", f"source.path={tmp_path}", "model.name=synthetic").exit_code == EXIT_USAGE


def test_damaged_weights_end_with_the_model_code(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "pose_detection.tflite").write_bytes(b"damaged")
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "1.png").touch()
    result = invoke("run", f"source.path={tmp_path}", f"output.path={tmp_path}/o", f"model.weights_path={weights}")
    assert result.exit_code == EXIT_MODEL
    assert "pose_detection.tflite" in result.output
    assert "models install" in result.output
    assert not (tmp_path / "o" / "dataset.json").exists(), "a run that cannot compute claims nothing"
    state, output, again = result.output.splitlines()[-3:]
    assert state.startswith("Failed before this run computed anything")
    assert output == f"Output: {tmp_path}/o"
    assert f"Next:   phoenix-ray run source.path={tmp_path} output.path={tmp_path}/o" in again


def test_a_run_that_is_stopped_while_it_starts_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phoenix_ray.cluster.job.open_source", interrupted)
    result = invoke("run", "my videos", str(tmp_path / "o"), "--force")
    assert result.exit_code == EXIT_INTERRUPTED
    assert "Stopped before this run computed anything" in result.output
    assert f"Next:   phoenix-ray run 'my videos' {tmp_path}/o   # goes on from here" in result.output


@pytest.mark.parametrize("command", ["status", "failures"])
def test_a_folder_that_is_no_dataset_ends_with_the_output_code(command: str, tmp_path: Path) -> None:
    result = invoke(command, str(tmp_path))
    assert result.exit_code == EXIT_OUTPUT
    assert "dataset.json" in result.output


def test_an_output_that_cannot_be_written_ends_with_the_output_code(tmp_path: Path) -> None:
    (tmp_path / "source" / "clip").mkdir(parents=True)
    (tmp_path / "source" / "clip" / "1.png").touch()
    (tmp_path / "file").touch()
    words = (f"source.path={tmp_path}/source", f"output.path={tmp_path}/file/output", "model.name=synthetic")
    result = invoke("run", *words)
    assert result.exit_code == EXIT_OUTPUT
    assert f"{tmp_path}/file/output" in result.output


def test_a_plan_says_what_cannot_be_opened_in_one_line_and_at_its_end(tmp_path: Path) -> None:
    source = tmp_path / ("long_" * 20)
    source.mkdir()
    (source / "cut.mp4").write_bytes(b"no container")
    lines = invoke("plan", str(source), str(tmp_path / "out"), "model.name=synthetic").output.splitlines()
    assert any(line.startswith(f"cannot be used: all/cut: {source}/cut.mp4 cannot be read") for line in lines)
    assert lines[-1] == "Nothing is left to compute, but 1 video cannot be used."


def test_models_are_listed_with_their_engines() -> None:
    output = invoke("models", "list").output
    assert "holistic" in output
    assert "litert" in output


def test_missing_weights_are_reported_by_check(tmp_path: Path) -> None:
    result = invoke("models", "check", "--path", str(tmp_path))
    assert result.exit_code == EXIT_MODEL
    assert result.output.count("missing") >= 7
