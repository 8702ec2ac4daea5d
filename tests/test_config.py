from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.config import Settings
from phoenix_ray.config_files import describe_settings, find_config, load, shipped_configs, to_markdown
from phoenix_ray.errors import ConfigError


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("source:\n  path: /data\ncluster:\n  num_workers: 4\n  shard_frames: 100\n")
    settings = load(file, ["cluster.num_workers=8", "source.splits=[dev,test]"])
    assert settings.source.path == "/data"
    assert settings.source.splits == ("dev", "test")
    assert (settings.cluster.num_workers, settings.cluster.shard_frames) == (8, 100)
    assert settings.output == Settings().output


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("source.pth=/data", "Did you mean 'source.path'?"),
        ("cluster.num_worker=3", "Did you mean 'cluster.num_workers'?"),
        ("model.static_image_mode=false", "Here it is model.mode=static or model.mode=tracking."),
        ("sorce.path=/data", "Did you mean 'source'?"),
        ("num_workers=3", "write section.key=value"),
        ("/data/videos", "is not a setting"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(word: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint.replace("?", r"\?")):
        load(None, [word])


def test_an_unknown_key_in_yaml_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("model:\n  batchsize: 4\n")
    with pytest.raises(ConfigError, match=r"'model.batchsize' in .*settings.yaml. Did you mean 'model.batch_size'\?"):
        load(file)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("model.batch_size=0", "greater than or equal to 1"),
        ("model.batch_size=many", "many"),
        ("cluster.num_gpus=-1", "greater than or equal to 0"),
        ("model.face_points=470", "468 or 478"),
        ("run.force=perhaps", "valid boolean"),
    ],
)
def test_a_wrong_value_is_refused_with_the_setting_and_the_reason(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load(None, [word])
    assert word.split("=")[0] in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "source: 3\n", "a: [\n", "\x00"])
def test_a_file_without_sections_of_settings_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"settings\.yaml"):
        load(file)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("batch_size: 4", "'batch_size' at the top level is not a section of settings. Did you mean model.batch_size"),
        ("model: {batch_size: 4}\nsorce: /videos", "'sorce' at the top level .* Did you mean 'source'"),
        ("path: /videos", "'path' .* Did you mean source.path or output.path"),
        ("5: 6", "5 at the top level"),
    ],
)
def test_a_stray_key_in_yaml_is_named(tmp_path: Path, content: str, hint: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=rf"settings\.yaml: {hint}"):
        load(file)


def test_an_empty_file_means_defaults(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("")
    assert load(file) == Settings()


def test_a_shipped_config_is_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_config(Path("demo")) == shipped_configs() / "demo.yaml"
    with pytest.raises(ConfigError, match="Did you mean 'phoenix'"):
        find_config(Path("phonix"))


@pytest.mark.parametrize("file", sorted(shipped_configs().glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_configs_load(file: Path) -> None:
    assert load(file).output.path


def test_every_setting_says_what_it_means() -> None:
    entries = list(describe_settings(Settings()))
    assert len(entries) == len({key for key, *_ in entries})
    assert [key for key, _, _, text in entries if len(text) < 20] == []


def test_the_page_of_settings_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "configuration.md"
    assert page.read_text() == to_markdown(Settings()), "phoenix-ray config --markdown > docs/configuration.md"


def test_on_off_yes_and_no_are_words(tmp_path: Path) -> None:
    """YAML 1.1 would make booleans of them, and `decode.on` could not be written in a file."""
    file = tmp_path / "settings.yaml"
    file.write_text("decode:\n  on: cpu_nodes\nsource:\n  path: no\noutput:\n  compact: False\n")
    settings = load(file)
    assert (settings.decode.on, settings.source.path, settings.output.compact) == ("cpu_nodes", "no", False)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("$DATA/videos", "/data/videos"),
        ("${DATA}/${NAME}s", "/data/clips"),
        ("~/videos", "/home/anna/videos"),
        ("$HOME/videos", "/home/anna/videos"),
        ("/x/$$NAME/a$", "/x/$NAME/a$"),
        ("/x/~/$5", "/x/~/$5"),
        ("$EMPTY/x", "/x"),
    ],
)
@pytest.mark.parametrize("key", ["source.path", "output.path", "model.weights_path"])
def test_variables_and_the_home_are_expanded_in_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, read: str, key: str
) -> None:
    for name, value in {"DATA": "/data", "NAME": "clip", "HOME": "/home/anna", "EMPTY": ""}.items():
        monkeypatch.setenv(name, value)
    section, name = key.split(".")
    file = tmp_path / "run.yaml"
    file.write_text(f"{section}:\n  {name}: {written}\n")
    assert getattr(getattr(load(file), section), name) == read
    assert getattr(getattr(load(overrides=[f"{key}={written}"]), section), name) == read


def test_an_error_names_a_variable_that_is_not_set_and_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_DATA", "/data")
    file = tmp_path / "run.yaml"
    file.write_text("source:\n  path: ${VIDEO_DATE}/x\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value) == (
        f"Setting 'source.path' in {file}: the environment variable ${{VIDEO_DATE}} in '${{VIDEO_DATE}}/x' is not set. "
        "Did you mean 'VIDEO_DATA'? Set it, or write $$ for a dollar sign."
    )


def test_only_paths_are_expanded(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("source:\n  video_id_column: $ID\n  splits: [$x]\n")
    assert load(file).source.video_id_column == "$ID"
    assert load(file).source.splits == ("$x",)
