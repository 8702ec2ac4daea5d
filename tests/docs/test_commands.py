"""Commands, settings and files that the pages name exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
import yaml

from benchmarks.__main__ import bench
from phoenix_ray.cli import cli
from phoenix_ray.commands.config import SettingsCommand, read_settings
from phoenix_ray.config import Settings
from phoenix_ray.config_files import describe_settings, shipped_configs
from phoenix_ray.prepare.pipeline import PrepareSettings
from phoenix_ray.setting_types import Section
from tests.docs.pages import PAGES, ROOT, Block, blocks, inline_code, page_name

# Programs whose words are not ours to check.
FOREIGN = {"cd", "docker", "export", "git", "hf", "jq", "kubectl", "npm", "pip", "pre-commit", "ray", "source"}
FOLDERS = ("benchmarks", "docs", "jobs", "phoenix_ray", "tests", "tools")
# Of other projects.
FOREIGN_FILES = {"dataset/Dataset.py", "datasets.py", "schema_py_generated.py"}
# Scripts that hand their words to `phoenix-ray run`.
SCRIPTS = {"jobs/submit.sh", "jobs/slurm.sbatch"}
SEPARATORS = {"&&", "||", ";", "|", "do", "done", "then"}
ENVIRONMENT = re.compile(r"[A-Z_]+=.*")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
FILES = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
FILES += [path.name for path in ROOT.iterdir()]
KEYS = {key for settings in (Settings(), PrepareSettings()) for key, *_ in describe_settings(settings)}
SECTIONS = {key.partition(".")[0] for key in KEYS}

# The changelog names commands of earlier versions.
CURRENT_PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]
SHELL = blocks("bash", "console")
# Blocks without a language hold commands or what they print.
COMMAND_LINE = re.compile(r"^(?:\$ )?((?:phoenix-ray|make|python -m (?:phoenix_ray|benchmarks)\S*) .*)$", re.MULTILINE)


def commands_in(text: str) -> Iterator[list[str]]:
    """Give the words of each command of a shell text, without variables that stand before it."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.startswith("$ ") and "$ " in text[:2]:
            continue  # what a command of a console prints
        words = shlex.split(line.removeprefix("$ ").replace(";", " ; "), comments=True)
        command: list[str] = []
        for word in [*words, ";"]:
            if word in SEPARATORS:
                if command:
                    yield command
                command = []
            elif command or not ENVIRONMENT.fullmatch(word):
                command.append(word)


def check(words: Sequence[str]) -> None:
    """Fail unless the command exists and takes these words."""
    program, *rest = words
    name = program.rpartition("/bin/")[2]
    if name == "phoenix-ray":
        check_click(cli, rest)
    elif program in SCRIPTS:
        assert (ROOT / program).is_file()
        check_click(cli, ["run", *rest])
    elif program == "sbatch":
        script = next(number for number, word in enumerate(rest) if not word.startswith("-"))
        check(rest[script:])
    elif program == "make":
        targets = [word for word in rest if "=" not in word]
        assert set(targets) <= TARGETS
    elif name.startswith("python"):
        check_module(rest)
    elif program == "pytest":
        assert all((ROOT / word).exists() for word in rest if "/" in word)
    elif program != "for":
        assert name in FOREIGN, f"{name}: write what it is into FOREIGN, or check it"


def check_module(words: Sequence[str]) -> None:
    assert words[0] == "-m"
    module, *rest = words[1:]
    if module == "phoenix_ray.run":
        check_click(cli, ["run", *rest])
    elif module == "benchmarks":
        with bench.make_context("benchmarks", list(rest)):
            pass
    elif module != "venv":
        path = ROOT / module.replace(".", "/")
        source = next(file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file())
        text = source.read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in rest if word.startswith("--"))


def check_click(command: click.Command, words: Sequence[str], parent: click.Context | None = None) -> None:
    """Parse the words with the command's own parser. Paths need not exist, and nothing runs."""
    if isinstance(command, click.Group):
        context = click.Context(command, parent=parent, info_name=command.name)
        chosen = command.get_command(context, words[0])
        assert chosen is not None, f"there is no command {words[0]}"
        check_click(chosen, words[1:], context)
        return
    with command.make_context(command.name, list(words), parent=parent) as context:
        if isinstance(command, SettingsCommand):
            values = dict(context.params)
            config = values.pop("config")
            if config is not None and (shipped_configs() / f"{config}.yaml").is_file() is False:
                config = None
            switches = {name: value for name, value in values.items() if "__" in name}
            read_settings(config, values["words"], switches, "source.path", "output.path")


@pytest.fixture(autouse=True)
def paths_need_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_the_commands_of_a_block_exist(block: Block) -> None:
    for command in commands_in(block.text):
        check(command)


@pytest.mark.parametrize("block", [block for block in blocks("") if COMMAND_LINE.search(block.text)], ids=str)
def test_the_commands_of_a_block_without_a_language_exist(block: Block) -> None:
    for line in COMMAND_LINE.findall(block.text):
        for command in commands_in(line):
            check(command)


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=page_name)
def test_commands_inside_sentences_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence may leave out arguments and write `FRAME` for a number: commands and options must exist."""
    convert = click.Parameter.process_value

    def convert_or_keep(self: click.Parameter, context: click.Context, value: object) -> object:
        try:
            return convert(self, context, value)
        except click.BadParameter:
            return value

    monkeypatch.setattr(click.Parameter, "process_value", convert_or_keep)
    for code in inline_code(page):
        if re.match(r"(phoenix-ray|make|python -m) \w", code) and "|" not in code:
            for command in commands_in(code.replace("[", "").replace("]", "")):
                check(command)


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=page_name)
def test_settings_inside_sentences_exist(page: Path) -> None:
    for code in inline_code(page):
        found = re.fullmatch(r"(\w+)\.(\w+)(=.*)?", code)
        if found and found[1] in SECTIONS and found[2] not in ("py", "md", "yaml", "json"):
            assert f"{found[1]}.{found[2]}" in KEYS, code


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=page_name)
def test_files_of_the_repository_inside_sentences_exist(page: Path) -> None:
    """A page may leave out the folders that come first: `torch_engine/graph.py`."""
    for code in inline_code(page):
        if re.fullmatch(r"([\w.-]+/)*[\w.-]+\.(py|sh|sbatch|txt|npz)", code) and code not in FOREIGN_FILES:
            assert any(f"/{name}".endswith(f"/{code}") for name in FILES), code


def test_yaml_blocks_are_settings() -> None:
    for block in blocks("yaml"):
        if block.page == "docs/manifests.md":
            continue  # manifests, which test_manifests_page.py reads
        given = yaml.safe_load(block.text)
        kind: type[Section] = Settings if set(given) <= set(Settings.model_fields) else PrepareSettings
        kind.model_validate(given)
