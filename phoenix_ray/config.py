"""Every setting of a run, in one typed tree.

`config_files.load` fills it from a YAML file and the command line. `phoenix-ray config` prints each setting with its
description, so a description says why the setting exists and what changing it does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.setting_types import Auto, PathText, PositiveInt, Section, ShareText


class SourceSettings(Section):
    """What is read."""

    kind: Literal["auto", "phoenix", "folders", "videos", "table", "sample", "synthetic"] = Field(
        "auto",
        description="How the source is laid out. 'auto' detects a PHOENIX-2014-T tree or a CSV or Parquet table, and "
        "reads anything else as a tree of video files and frame folders. 'videos' and 'folders' read only one of the "
        "two. 'sample' is the built-in demo dataset. 'synthetic' makes max_videos_per_split videos of noise in memory, "
        "to measure how a cluster scales.",
    )
    path: PathText = Field(
        "",
        description="The folder or file to read, which every node must see under this same path, or a URI: s3://, "
        "gs://, az://, hf://, … (docs/sources.md).",
    )
    splits: tuple[str, ...] = Field((), description="Read only these splits; empty reads all.")
    max_videos_per_split: PositiveInt | None = Field(
        None,
        description="Read only the first videos of each split, for a trial run. A later run without it adds the rest.",
    )
    limit_frames: PositiveInt | None = Field(
        None,
        description="Read only the first frames of each video, for a trial run. It is part of a dataset's identity: a "
        "dataset begun with it cannot be finished without it.",
    )
    signature: Literal["sizes", "names"] = Field(
        "sizes",
        description="How a run notices that a frame folder has changed. 'sizes' asks the file system for the size of "
        "each frame; 'names' only lists folders, which is faster on a slow network file system but misses a frame that "
        "was replaced in place.",
    )
    video_id_column: str = Field("video_id", description="Column of a table that names each video.")
    path_column: str = Field("path", description="Column of a table with the path of each video.")
    split_column: str = Field(
        "split", description="Column of a table with the split of each video. Without it all are in split 'all'."
    )
    start_column: str = Field(
        "start",
        description="Column of a table with the start of each segment of a long video, in seconds (62.5) or as a time "
        "code (00:01:02.5). Empty cells, or no such column: from the first frame. Set it to nothing to keep a column "
        "of this name as an annotation.",
    )
    end_column: str = Field(
        "end",
        description="Column of a table with the end of each segment, in seconds or as a time code. The frame that is "
        "shown then is not part of the segment. Empty: to the last frame.",
    )
    start_frame_column: str = Field(
        "start_frame",
        description="Column of a table with the first frame of each segment, counted from 0, in place of seconds.",
    )
    end_frame_column: str = Field(
        "end_frame",
        description="Column of a table with the frame after the last one of each segment, counted from 0, in place of "
        "seconds.",
    )
    fps_column: str = Field(
        "fps",
        description="Column of a table with the frames per second of frame folders, which have no clock. It gives "
        "their frames time stamps, and segments of them may then be given in seconds. Video files have their own "
        "times.",
    )
    square_pixels: bool = Field(
        False,
        description="Resize frames whose pixels are not square, before the model sees them, so that people have their "
        "true proportions. One side is enlarged, with linear interpolation. It changes landmarks, so it is part of a "
        "dataset's identity.",
    )
    pixel_aspect_ratio: Annotated[float, Field(gt=0.05, lt=20)] | None = Field(
        None,
        description="Width of a pixel over its height, for frame folders and for files that do not say (64/45 = "
        "1.4222 for PHOENIX-2014-T). It is recorded in videos.parquet, and square_pixels corrects it. Empty: unknown.",
    )


class DecodeSettings(Section):
    """How files become pixels."""

    threads: PositiveInt = Field(
        2,
        description="Decoding threads of each worker. On GPU nodes, set about (cores / workers); a frame takes about "
        "1 ms.",
    )
    on: Literal["workers", "cpu_nodes"] = Field(
        "workers",
        description="Where frames are decoded. 'workers': in threads of each worker, so no pixels travel. 'cpu_nodes': "
        "in Ray tasks of one CPU each, on nodes without a GPU if there are any, which send the pixels to the workers: "
        "for GPU nodes with too few cores. This costs width*height*3 bytes of network traffic for each frame; the "
        "landmarks are the same.",
    )
    ahead: PositiveInt = Field(
        64,
        description="Frames decoded ahead of the model. More hides slow storage; each takes width*height*3 bytes of "
        "memory.",
    )
    max_pixels: PositiveInt = Field(
        50_000_000,
        description="Larger pictures are recorded as unreadable instead of decoded, so that one damaged or hostile "
        "file cannot fill a node's memory.",
    )
    keep_mb: Annotated[int, Field(ge=0)] = Field(
        256,
        description="Memory of each worker for the last pictures of a video file that segments share, so that those of "
        "overlapping segments are decoded once. A picture takes about width*height*1.5 bytes: 256 MB hold 80 frames of "
        "1920x1080 or 3,000 of 210x260. If segments overlap by more, the file is decoded again from its start for each "
        "of them. Whole videos need none of it.",
    )


class ClusterSettings(Section):
    """Who computes."""

    address: str = Field(
        "",
        description="Ray cluster to join: 'auto' for the one on this machine, or 'host:6379'. Empty: the one to which "
        "the calling process is connected (docs/python.md), else $RAY_ADDRESS, else a local Ray starts and stops with "
        "the run.",
    )
    num_workers: PositiveInt | Auto = Field(
        "auto",
        description="Workers: Ray actors, each with its own model. 'auto' takes one for each share of a GPU if GPUs "
        "are used, else one for each CPU, and asks an autoscaler for more while the work is worth new nodes. All of a "
        "number are asked for at once.",
    )
    num_gpus: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="GPUs to use in the whole cluster. 'auto' takes all if the engine can use them; 0 takes none.",
    )
    workers_per_gpu: PositiveInt = Field(
        1,
        description="Workers that share a GPU, each reserving 1/n of it. 2 keeps the GPU busy while one worker waits "
        "for frames; each takes GPU memory.",
    )
    cpus_per_worker: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="CPUs that each worker reserves. Raise it with decode.threads where nodes run other work too.",
    )
    memory_per_worker_mb: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Memory that each worker reserves with Ray (0: none), so that Ray places no more workers on a node "
        "than fit. It is a reservation, not a limit.",
    )
    start_seconds: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="How long to wait for all workers. The run starts with the first. When this time is over, or the "
        "cluster is full, it reports how many are missing, and uses them when they come. Without any worker it ends. "
        "'auto' is 60; where an autoscaler brings nodes, or a head without CPUs is alone, 1,200: new nodes take "
        "minutes.",
    )
    shards_in_flight: Annotated[int, Field(ge=1, le=4)] = Field(
        2,
        description="Shards at a worker: while it computes one, it encodes and writes those before. 2 keeps a CPU "
        "busy. A fast GPU may need 4, because one core encodes about 4,000 frames/s. More leaves workers idle at the "
        "end of a run.",
    )
    shard_frames: PositiveInt = Field(
        512,
        le=16_384,
        description="Longer videos are split into ranges of about this many frames. Smaller ranges spread long videos "
        "better and lose less when a node dies; but each range is a file until compaction.",
    )
    max_attempts: PositiveInt = Field(
        3,
        description="How often a shard that fails while it runs alone is tried before it goes to the failure list, and "
        "how often one that kills its worker is tried before the run searches for the frame that does it.",
    )
    stall_seconds: Annotated[float, Field(gt=0)] = Field(
        300.0,
        description="A shard that gives no answer for this long is abandoned: its worker is replaced, and the shard is "
        "tried again.",
    )
    recycle_memory_mb: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="A worker that holds more memory than this after a shard is replaced, so that a leak in a library "
        "never takes a node down. 'auto' is three times what the worker held after its first shard, and at least "
        "1,024 MB more. 0 never replaces it.",
    )
    drain_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0,
        description="After SIGINT or SIGTERM, how long shards in flight may take to finish. A second signal stops at "
        "once.",
    )


class OutputSettings(Section):
    """What is written."""

    path: PathText = Field(
        "",
        description="The dataset's folder, which every node must see under this same path, or a place in an object "
        "store: s3://, gs://, az:// (docs/buckets.md).",
    )
    license: str = Field(
        "",
        description="The licence that you give the landmarks, as the Hugging Face Hub writes it ('cc-by-nc-4.0', "
        "'other'): the dataset card, README.md in the dataset, states it (docs/data-format.md). A later run or "
        "compaction without it keeps what the card states. Empty: none, and the card says that it is missing.",
    )
    compact: bool = Field(
        True,
        description="Merge partitions into a few large files at the end of a run (the reduce step). false leaves this "
        "to `phoenix-ray compact`.",
    )
    compact_every: PositiveInt = Field(
        20_000,
        description="Merge during a run too, whenever this many partitions have not been merged, so that files never "
        "pile up.",
    )
    row_group_rows: PositiveInt = Field(
        137,
        le=8_192,
        description="Rows in a row group: the least that a reader decodes to get at one video. With 137, bytes of one "
        "kind fill zstd's blocks of 128 KiB (two of the four byte streams of 478 face points). That takes 2.5 % more "
        "space than 1,024 rows, and a video at random is read in about half the CPU time (8.1 instead of 16.0 ms).",
    )
    target_file_mb: PositiveInt = Field(
        256, description="Size at which a compacted file is full. Larger files are fewer, and take longer to rewrite."
    )
    compression_level: Annotated[int, Field(ge=1, le=22)] = Field(
        3, description="Level of zstd. Levels above 3 take more time and save less than 1 %."
    )


class RunSettings(Section):
    """How the run behaves."""

    max_failures: Annotated[int, Field(ge=-1)] = Field(
        -1,
        description="Stop after this many failed shards; -1 never stops. The next run tries failed shards again.",
    )
    force: bool = Field(
        False,
        description="Start although another driver seems to work on this output. Only for a driver that is certainly "
        "dead: two at once waste each other's work.",
    )
    wait_for_lease_seconds: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="How long to wait for another driver that works on this output, until it has ended or counts as "
        "dead: 60 s after its last sign where it ran on another machine. 0 refuses at once, with exit code 6.",
    )
    share: ShareText = Field(
        "",
        description="'I/N', I from 0 to N-1: compute only this share of the videos, for N runs at a time, each with a "
        "Ray of its own, that write one dataset (an array of SLURM jobs, docs/cluster.md). Split and ID decide a "
        "video's share, so the N runs never meet; the one that is last merges the rows of all. Another N may go on "
        "later, not at the same time. Empty: all videos.",
    )
    report: Literal["", "skeletons", "frames"] = Field(
        "",
        description="Write a page about the dataset at the end, report.html beside summary.json (docs/report.md). It "
        "measures up to 2,000 videos on the driver's machine, after the workers are gone. 'skeletons' holds no pixel "
        "of the source; 'frames' puts pictures of people beside the dataset. Empty: none.",
    )
    progress_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0,
        description="Seconds between two progress lines where the output is not a terminal, and between two updates of "
        "status.json.",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description="'json' prints a JSON object per line on standard error, with time, level, run and event, in place "
        "of progress, messages and tables (docs/cluster.md).",
    )


class Settings(Section):
    """The whole tree.

    `auto` leaves a choice to the run. `model.engine`, `model.device`, `model.architecture` and `model.batch_size` can
    change landmarks: the first run of a dataset chooses them before it plans and records them, and every resume takes
    what is recorded, whatever the new machines have. All other choices (how the source is laid out, how many workers
    and GPUs, how much memory) are made anew by each run, and do not change landmarks.
    """

    source: SourceSettings = Field(default_factory=SourceSettings)
    decode: DecodeSettings = Field(default_factory=DecodeSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    output: OutputSettings = Field(default_factory=OutputSettings)
    run: RunSettings = Field(default_factory=RunSettings)
