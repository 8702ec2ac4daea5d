"""Every setting of a run, in one typed tree.

`config_files.load` fills it from a YAML file and the command line. `phoenix-ray config` prints it with the
descriptions, so a description says why the setting exists and what turning it does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Precision = Literal["exact", "tf32", "fp16"]
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
# Marks settings that are paths: where they are written as text, variables of the environment and `~` stand for others.
IS_PATH = "is a path"
PathText = Annotated[str, IS_PATH]


class Section(BaseModel):
    """A group of settings: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class SourceSettings(Section):
    """What is read."""

    kind: Literal["auto", "phoenix", "folders", "videos", "table", "sample", "synthetic"] = Field(
        "auto",
        description="How the source is laid out. 'auto' looks: a PHOENIX-2014-T tree, a CSV or Parquet table, else a "
        "tree of video files and frame folders; 'videos' and 'folders' read one of the two and leave the other out. "
        "'sample' is the built-in demo dataset. 'synthetic' makes noise in memory, max_videos_per_split videos of it, "
        "to measure how the cluster scales.",
    )
    path: PathText = Field("", description="The dataset. Every node must see it under this same path.")
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
        description="What runs Holistic's networks. 'litert' (CPU: MediaPipe's landmarks, on x86-64 bit for bit), "
        "'torch' (GPU, in batches; needs the extra [torch]), 'mediapipe' (the legacy package, reset before each frame: "
        "the reference, slow; needs the extra [mediapipe]). 'auto' takes torch where model.device or model.precision "
        "ask for it; else, where the cluster has GPUs, a new dataset's first run tries torch on one and takes it if "
        "its landmarks are those of litert and it is faster; else litert. A resume takes what is recorded.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto",
        description="Where engine torch computes. 'auto' takes a CUDA GPU where there is one, else the CPU. Devices "
        "round differently, so it is part of a dataset's identity.",
    )
    architecture: Literal["auto", "x86_64", "x86_64-without-fma", "aarch64"] = Field(
        "auto",
        description="Processors whose arithmetic computes on the CPU: x86-64 since 2013, x86-64 before, ARM. Landmarks "
        "of two of them are up to a pixel apart, so it is part of a dataset's identity, and a worker on another is "
        "refused. 'auto' takes that of the machine where the run starts; name it where the workers have another.",
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
    weights_path: PathText = Field(
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
        2,
        description="Shards at an actor: one is computed, those before it are encoded and written meanwhile. 2 keeps a "
        "CPU fed. A fast GPU may want 4: one core encodes about 4,000 frames/s. More makes the end of a run uneven.",
    )
    shard_frames: PositiveInt = Field(
        512,
        le=16_384,
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

    path: PathText = Field("", description="The dataset's folder. Every node must see it under this same path.")
    compact: bool = Field(
        True, description="Merge partitions into few large files at the end of a run (the reduce step)."
    )
    compact_every: PositiveInt = Field(
        20_000,
        description="Also merge during a run whenever this many partitions lie open, so they never pile up.",
    )
    row_group_rows: PositiveInt = Field(
        137,
        le=8_192,
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
