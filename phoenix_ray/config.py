"""Every setting of a run, in one typed tree.

`load` merges, in this order: the defaults below, a YAML file, `section.key=value` words from the command line.
`phoenix-ray config` prints the result with the descriptions, so a description says why the setting exists and what
turning it does.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phoenix_ray.errors import ConfigError, did_you_mean

Auto = Literal["auto"]
Precision = Literal["exact", "tf32", "fp16"]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A group of settings: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


Tree = TypeVar("Tree", bound=Section)


class SourceSettings(Section):
    """What is read."""

    kind: Literal["auto", "phoenix", "folders", "videos", "table", "sample", "synthetic"] = Field(
        "auto",
        description="How the source is laid out. 'auto' looks: a PHOENIX-2014-T tree, a CSV or Parquet table, a folder "
        "of video files, else a folder of frame folders. 'sample' is the built-in demo dataset. 'synthetic' makes "
        "noise in memory, max_videos_per_split videos of it, to measure how the cluster scales.",
    )
    path: str = Field("", description="The dataset. Every node must see it under this same path.")
    splits: tuple[str, ...] = Field((), description="Only these splits; empty means all.")
    max_videos_per_split: PositiveInt | None = Field(
        None,
        description="Only the first videos of each split, for a trial. A later run without it adds the rest.",
    )
    limit_frames: PositiveInt | None = Field(
        None,
        description="Only the first frames of each video, for a trial. Part of a dataset's identity: a dataset begun "
        "with it cannot be finished without it.",
    )
    signature: Literal["sizes", "names"] = Field(
        "sizes",
        description="How a changed video is noticed. 'sizes' asks the file system for the size of each frame; 'names' "
        "only lists folders, which is faster on a slow network file system and misses a frame replaced in place.",
    )
    video_id_column: str = Field("video_id", description="Column of a table that names the video.")
    path_column: str = Field("path", description="Column of a table that says where the video lies.")
    split_column: str = Field("split", description="Column of a table with the split; 'all' where it is missing.")


class DecodeSettings(Section):
    """How files become pixels."""

    threads: PositiveInt = Field(
        2, description="Decoding threads of a worker. On GPU nodes about (cores / workers); a frame costs about 1 ms."
    )
    on: Literal["workers", "cpu_nodes"] = Field(
        "workers",
        description="Who decodes. 'workers': each worker its own frames, in threads; no pixel travels. 'cpu_nodes': "
        "Ray tasks with one CPU each, on nodes without a GPU where there are any, which send the pixels to the "
        "workers: for GPU nodes with too few cores. Costs the network width*height*3 bytes a frame; landmarks stay "
        "as they are.",
    )
    ahead: PositiveInt = Field(
        64,
        description="Frames decoded ahead of the model. More hides slow storage; each costs width*height*3 bytes.",
    )
    max_pixels: PositiveInt = Field(
        50_000_000,
        description="Larger pictures are recorded as unreadable instead of decoded, so that one damaged or hostile "
        "file cannot take a node's memory.",
    )


class ModelSettings(Section):
    """What finds the landmarks. What landmarks depend on is a dataset's identity and cannot change on resume."""

    name: str = Field("holistic", description="The model; `phoenix-ray models list` shows all.")
    engine: Literal["auto", "litert", "torch", "mediapipe"] = Field(
        "auto",
        description="What runs Holistic's networks. 'litert' (CPU: MediaPipe's landmarks nearly to the bit), 'torch' "
        "(GPU, in batches; needs the extra [torch]), 'mediapipe' (the legacy package, reset before each frame: the "
        "reference, slow; needs the extra [mediapipe]). 'auto' takes litert, also where there are GPUs as long as "
        "torch has not been measured on one, and torch where model.device or model.precision ask for it.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto",
        description="Where engine torch computes. 'auto' takes a CUDA GPU where there is one, else the CPU. Devices "
        "round differently, so it is part of a dataset's identity.",
    )
    precision: Precision = Field(
        "exact",
        description="How engine torch multiplies. 'exact' is float32 throughout: the landmarks of the CPU engine to a "
        "hundredth of a pixel. 'tf32' and 'fp16' use a GPU's matrix units, which keep 10 bits of a factor: faster, and "
        "landmarks move by about a tenth of a pixel (docs/engines.md). Part of a dataset's identity.",
    )
    face_points: Literal[468, 478] = Field(
        468, description="478 runs MediaPipe's attention model (`refine_face_landmarks`): better lips, eyes and irises."
    )
    heatmap_kernel: Literal[7, 9] = Field(
        9,
        description="Window of the pose refinement. 9 is what `mp.solutions.holistic` has always computed from Python; "
        "7 is what its graph file says and what MediaPipe Tasks computes.",
    )
    min_detection_confidence: Fraction = Field(
        0.5, description="Score from which the detector's person counts, as MediaPipe's parameter of this name."
    )
    min_tracking_confidence: Fraction = Field(
        0.5, description="Score from which the pose network's pose counts, as MediaPipe's parameter of this name."
    )
    batch_size: PositiveInt | Auto = Field(
        "auto",
        description="Frames handed to the model at once. Batches never cross videos and are cut at multiples of this "
        "size from a video's first frame, so results do not depend on shards. 'auto': with torch on CUDA, a new "
        "dataset's first run measures it for about ten seconds on a worker's GPU (128 where that fails); with torch on "
        "a CPU 8. With torch it is part of a dataset's identity, and a resume takes what is recorded; a batch that "
        "does not fit into memory is halved, and the run records it.",
    )
    enable_batching: bool = Field(
        True,
        description="false hands the model one frame at a time. With torch this takes away the last dependence on "
        "batches, which is in the last digits, and most of the speed.",
    )
    memory_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Share of a GPU's memory that one worker's engine torch may take. With cluster.workers_per_gpu=n, "
        "1/n keeps a worker from starving the others: it runs out of memory by itself, and halves its batch.",
    )
    threads: PositiveInt = Field(
        1, description="Threads of one model on the CPU. One a worker and many workers is fastest; more lowers latency."
    )
    weights_path: str = Field(
        "", description="Folder of the weights. Empty: $PHOENIX_RAY_MODELS, else a folder in the user's cache."
    )


class ClusterSettings(Section):
    """Who computes."""

    address: str = Field(
        "",
        description="Ray cluster to join ('auto', 'host:6379'). Empty: $RAY_ADDRESS, else a local Ray is started and "
        "stopped with the run.",
    )
    num_workers: PositiveInt | Auto = Field(
        "auto", description="Actors, each with one model. 'auto': one a GPU share where there are GPUs, else one a CPU."
    )
    num_gpus: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto", description="GPUs to use in the whole cluster. 'auto': all, when the engine can use one. 0: none."
    )
    workers_per_gpu: PositiveInt = Field(
        1, description="Actors that share one GPU, each reserving 1/n of it. 2 hides decode gaps; each costs memory."
    )
    cpus_per_worker: Annotated[float, Field(ge=0)] = Field(
        1.0, description="CPUs each actor reserves. Raise it with decode.threads where nodes run other work too."
    )
    memory_per_worker_mb: Annotated[int, Field(ge=0)] = Field(
        0, description="Memory each actor reserves with Ray (0: none). A reservation, not a limit."
    )
    start_seconds: Annotated[float, Field(gt=0)] = Field(
        60.0,
        description="How long to wait for all actors. The run starts with the first; when the time is over, or the "
        "cluster is full, it says how many are missing, and takes them in when they come.",
    )
    shards_in_flight: Annotated[int, Field(ge=1, le=4)] = Field(
        2, description="Shards queued at an actor. 2 keeps it fed; more makes the end of a run uneven."
    )
    shard_frames: PositiveInt = Field(
        512,
        description="Longer videos are split into ranges of about this many frames. Smaller spreads long videos better "
        "and loses less when a node dies; each range is one file until compaction.",
    )
    max_attempts: PositiveInt = Field(
        3,
        description="Tries of a shard that fails while it runs alone, before it goes to the failure list; of one that "
        "kills its worker, before it is searched for the frame that does it.",
    )
    stall_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0,
        description="A shard without an answer for this long is given up on: its actor is replaced, the shard "
        "tried again.",
    )
    recycle_memory_mb: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="An actor that holds more memory than this after a shard is replaced, so that a leak in a library "
        "never takes a node down. 'auto': three times what it held after its first shard, and at least 1,024 MB more. "
        "0: never.",
    )
    drain_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="After SIGINT or SIGTERM, time for shards in flight to finish. A second signal stops at once."
    )


class OutputSettings(Section):
    """What is written."""

    path: str = Field("", description="The dataset's folder. Every node must see it under this same path.")
    compact: bool = Field(
        True, description="Merge partitions into few large files at the end of a run (the reduce step)."
    )
    compact_every: PositiveInt = Field(
        20_000,
        description="Also merge during a run whenever this many partitions lie open, so they never pile up.",
    )
    row_group_rows: PositiveInt = Field(
        137,
        description="Rows a row group: what a reader decodes at the least to get at one video. With 137, bytes of one "
        "kind fill zstd's blocks of 128 KiB (two of four byte streams of 478 face points), so it costs 2.5 % of size "
        "beside 1,024 and one video at random is read in about half the CPU time (8.1 instead of 16.0 ms).",
    )
    target_file_mb: PositiveInt = Field(256, description="Size at which a compacted file is full.")
    compression_level: Annotated[int, Field(ge=1, le=22)] = Field(
        3, description="zstd level. Above 3 costs time and saves under 1 %."
    )


class RunSettings(Section):
    """How the run behaves."""

    max_failures: Annotated[int, Field(ge=-1)] = Field(
        -1, description="Stop after this many failed shards; -1 never stops. Failed shards are tried again next time."
    )
    force: bool = Field(False, description="Start although another driver seems to work on this output.")
    progress_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="Interval of progress lines where the output is no terminal, and of status.json."
    )


class Settings(Section):
    """The whole tree."""

    source: SourceSettings = Field(default_factory=SourceSettings)
    decode: DecodeSettings = Field(default_factory=DecodeSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    run: RunSettings = Field(default_factory=RunSettings)


def load(config: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a run; as `load_tree`."""
    return load_tree(Settings, config, overrides)


def load_tree(kind: type[Tree], config: Path | None, overrides: Sequence[str]) -> Tree:
    """Return the settings of a YAML file with `section.key=value` overrides applied in order.

    Args:
        kind: The tree of settings: its fields are sections, whose fields are settings.
        config: The YAML file; None means defaults.
        overrides: The words.

    Raises:
        ConfigError: The file is missing or no YAML mapping, a key is unknown (with the nearest known one), or a value
            has the wrong type.
    """
    tree: dict[str, Any] = _read_yaml(kind, config) if config else {}
    where = f"in {config}" if config else "on the command line"
    for word in overrides:
        key, separator, text = word.partition("=")
        if not separator:
            raise ConfigError(f"'{word}' is no setting: write section.key=value.")
        _assign(kind, tree, key, _parse_yaml(text, f"'{reprlib.repr(word)}'") if text else "", word)
        where = "on the command line" if not config else f"in {config} or on the command line"
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, problem, where) for problem in error.errors())) from None


def find_config(path: Path) -> Path:
    """Return `path` when it is a file, else the file of this name that comes with the package (`phoenix`, `demo.yaml`).

    Raises:
        ConfigError: There is neither.
    """
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(shipped_configs().glob("*.yaml"))}
    if path.parent == Path() and path.suffix in ("", ".yaml") and path.stem in shipped:
        return shipped[path.stem]
    raise ConfigError(
        f"There is no settings file {path}.{did_you_mean(path.stem, shipped)} "
        f"With the package come: {', '.join(shipped)}."
    )


def shipped_configs() -> Path:
    """Return the folder of example settings: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def describe(settings: Section) -> Iterator[tuple[str, object, object, str]]:
    """Yield (key, value, default, description) of every setting, in the order of the tree."""
    defaults = type(settings)()
    for section_name in type(settings).model_fields:
        section, default = getattr(settings, section_name), getattr(defaults, section_name)
        for name, field in type(section).model_fields.items():
            yield f"{section_name}.{name}", getattr(section, name), getattr(default, name), field.description or ""


def to_markdown(settings: Settings) -> str:
    """Return the settings as a page of tables, one for each section."""
    lines = [
        "# Configuration",
        "",
        "Every setting, with its default. Set it in a YAML file (`--config`) or as a `section.key=value` word.",
        "This page is written by `phoenix-ray config --markdown`.",
    ]
    section = ""
    for key, value, _, text in describe(settings):
        name = key.partition(".")[0]
        if name != section:
            section = name
            summary = getattr(settings, section).__doc__
            lines += ["", f"## {section}", "", summary, "", "| setting | default | meaning |", "|---|---|---|"]
        lines.append(f"| `{key}` | `{format_value(value)}` | {text} |")
    return "\n".join(lines) + "\n"


def format_value(value: object) -> str:
    """Return a value as YAML would have it."""
    match value:
        case None:
            return "none"
        case "":
            return "''"
        case tuple():
            return f"[{', '.join(map(str, value))}]"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _read_yaml(kind: type[Section], path: Path) -> dict[str, Any]:
    try:
        tree = _parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"There is no settings file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(part, dict | None) for part in tree.values()):
        raise ConfigError(f"{path} must hold sections ({', '.join(kind.model_fields)}) of settings.")
    return {str(name): dict(part or {}) for name, part in tree.items()}


class _Loader(yaml.SafeLoader):
    """Safe YAML in which only true and false are booleans, as in YAML 1.2: `decode.on` is a key, `no` a language."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - not annotated in the base either
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?i:true|false)$"), list("tTfF"))


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise ConfigError(f"{where} cannot be read as YAML: it is nested too deeply.") from None
    # ValueError: what looks like a date or a number and is none. TypeError: a mapping as a key.
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{where} cannot be read as YAML: {error}") from None


def _assign(kind: type[Section], tree: dict[str, Any], key: str, value: object, word: str) -> None:
    section, dot, name = key.partition(".")
    if not dot or not section or not name:
        raise ConfigError(f"'{word}' is no setting: write section.key=value.{did_you_mean(key, _all_keys(kind))}")
    tree.setdefault(section, {})[name] = value


def _explain(kind: type[Section], problem: Mapping[str, Any], where: str) -> str:
    key = ".".join(str(part) for part in problem["loc"][:2])
    if problem["type"] == "extra_forbidden":
        known = _all_keys(kind) if "." in key else list(kind.model_fields)
        return f"Unknown setting '{key}' {where}.{did_you_mean(key, known)}"
    return f"Setting '{key}' {where}: {problem['msg']} (got {reprlib.repr(problem['input'])})."


def _all_keys(kind: type[Section]) -> list[str]:
    return [key for key, *_ in describe(kind())]
