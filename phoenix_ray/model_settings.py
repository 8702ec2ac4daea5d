"""The settings of the model, a section of the tree in `config`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from phoenix_ray.setting_types import Auto, Fraction, PathText, PositiveInt, Precision, Section


class ModelSettings(Section):
    """What finds the landmarks. Those that change landmarks are part of a dataset's identity: a resume keeps them."""

    name: str = Field(
        "holistic",
        description="The model: 'holistic' finds pose, hands and face, 'blazepose' the pose alone; others are networks "
        "in ONNX files, by the name or path of their manifest (docs/models.md). `phoenix-ray models list` shows all. "
        "Part of a dataset's identity.",
    )
    engine: Literal["auto", "litert", "torch", "mediapipe", "onnx", "torchvision"] = Field(
        "auto",
        description="What runs the networks. 'litert' runs on the CPU and gives MediaPipe's landmarks, on x86-64 bit "
        "for bit. 'torch' runs batches on a GPU and needs the extra [torch]. 'mediapipe' is the legacy package, "
        "reset before each frame: the reference, slow; it needs the extra [mediapipe]. 'onnx' runs networks in "
        "ONNX files, and they run on nothing else; it needs the extra [onnx] or [onnx-gpu]. 'torchvision' runs "
        "keypointrcnn. For MediaPipe's models 'auto' takes torch if model.device, model.precision or "
        "model.kernels asks for it. Otherwise, if the cluster has GPUs, it tries torch on one of them and takes it "
        "if it is faster and its landmarks agree with those of litert; in all other cases it takes litert.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto",
        description="Where engine torch or onnx computes. 'auto' takes a CUDA GPU if there is one (onnx: and the run "
        "starts where [onnx-gpu] is installed), else the CPU. 'mps' is an Apple GPU: onnx takes it through CoreML. "
        "Devices round differently, so the device is part of a dataset's identity.",
    )
    architecture: Literal["auto", "x86_64", "x86_64-avx2", "x86_64-avx512", "x86_64-without-fma", "aarch64"] = Field(
        "auto",
        description="Kind of processor that computes on the CPU: x86-64 since 2013, older x86-64, or ARM. Their "
        "landmarks differ by up to a pixel, so it is part of a dataset's identity, and workers on "
        "another kind are refused. 'auto' takes the kind of the machine where the run starts; set it if "
        "the workers' is another. With engine onnx 'auto' is x86_64, the same digits on each, where the "
        "network's operators allow it. x86_64-avx2 and x86_64-avx512 are faster, their last digits "
        "differ, and workers on the other are refused (docs/engines.md). Other engines give the same on "
        "both.",
    )
    precision: Precision = Field(
        "exact",
        description="How engines torch and onnx multiply on a GPU. 'exact' is float32 throughout: the landmarks of the "
        "CPU engine to a hundredth of a pixel. 'tf32' and 'fp16' use a GPU's matrix units, which keep 10 bits of each "
        "factor: meant to be faster, but landmarks move by about a tenth of a pixel (docs/engines.md). With onnx "
        "'fp16' takes the file in half precision that the model's manifest names, on each device. Part of a dataset's "
        "identity.",
    )
    kernels: Literal["auto", "triton", "torch"] = Field(
        "auto",
        description="What engine torch computes with on CUDA. 'triton' are kernels of our own, which add up in a fixed "
        "order and need a twentieth of the launches. 'torch' are torch's operators, whose libraries may add up in "
        "another order for each size: to check the kernels, or where Triton or a C compiler is missing. 'auto' takes "
        "triton on CUDA and torch elsewhere; a resume keeps what its dataset has. With 'triton' it is part of a "
        "dataset's identity, so no dataset mixes the two.",
    )
    box: Literal["auto", "frame", "blazepose", "detector"] = Field(
        "auto",
        description="What a network that looks at one person is shown: the whole 'frame', the person that MediaPipe's "
        "pose detector finds ('blazepose'), or the one that model.detector finds ('detector'). 'auto' is what the "
        "model's manifest says. It is for models in ONNX files. Part of a dataset's identity.",
    )
    detector: str = Field(
        "",
        description="The detector of model.box=detector: name or path of its manifest. Part of a dataset's identity.",
    )
    heads: tuple[str, ...] = Field(
        (),
        description="Networks that look at the crop of a part beside the model, such as the expression of a face: "
        "names or paths of their manifests (docs/heads.md). Part of a dataset's identity.",
    )
    mode: Literal["static", "tracking"] = Field(
        "static",
        description="'static' estimates each frame on its own. 'tracking' follows a person through the video, as "
        "MediaPipe does with static_image_mode=False: smoother, but a frame depends on all frames before it, so ranges "
        "of a long video are computed one after the other (docs/modes.md). Part of a dataset's identity.",
    )
    smooth_landmarks: bool = Field(
        True,
        description="Smooth the pose in mode tracking; MediaPipe's parameter of this name. Hands and face are never "
        "smoothed. false keeps the jitter by which some models find where signs begin. Part of a dataset's identity.",
    )
    complexity: Literal[0, 1, 2] = Field(
        1,
        description="Pose network: 0 lite, 1 full, 2 heavy; MediaPipe's parameter `model_complexity` (docs/models.md). "
        "A run installs the network that it needs. Part of a dataset's identity.",
    )
    face_points: Literal[468, 478] = Field(
        468,
        description="478 runs MediaPipe's attention model (`refine_face_landmarks`), with better lips and eyes, and "
        "with irises. Part of a dataset's identity.",
    )
    heatmap_kernel: Literal[7, 9] = Field(
        9,
        description="Window of the pose refinement. 9 is what `mp.solutions.holistic` has always computed from Python; "
        "7 is what its graph file says and what MediaPipe Tasks computes. Part of a dataset's identity.",
    )
    min_detection_confidence: Fraction = Field(
        0.5,
        description="Lowest score at which the detector's person counts; MediaPipe's parameter of this name. Part of a "
        "dataset's identity.",
    )
    min_tracking_confidence: Fraction = Field(
        0.5,
        description="Lowest score at which the pose network's pose counts; MediaPipe's parameter of this name. Part of "
        "a dataset's identity.",
    )
    batch_size: PositiveInt | Auto = Field(
        "auto",
        description="Frames that the model computes at once. Batches never cross videos and are cut at multiples of "
        "this size from a video's first frame, so results do not depend on shards. 'auto' measures it for about ten "
        "seconds with torch on CUDA (128 if that fails), and is 8 with torch on a CPU. With torch it is part of a "
        "dataset's identity, and with onnx on a GPU ('auto' is 32 there). A batch that does not fit into memory is "
        "halved, and the run records that. In mode tracking it is the number of videos that a worker follows at once, "
        "one frame of each at a time; 'auto' is 8 on a CPU and 32 on a GPU, and a batch that does not fit is an error.",
    )
    enable_batching: bool = Field(
        True,
        description="false gives the model one frame at a time. With torch this removes the last dependence on "
        "batches, which is in the last digits, but also most of the speed.",
    )
    memory_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Share of a GPU's memory that one worker may take for tensors, with engine torch, onnx or "
        "torchvision. With cluster.workers_per_gpu=n it is at most 1/n, so 1.0 divides the whole GPU among its "
        "workers: no worker starves the others, it runs out of memory alone, and halves its batch. CUDA itself takes "
        "about 0.5 GB more in each worker; on a small or shared GPU set less.",
    )
    threads: PositiveInt = Field(
        1,
        description="Threads of one model on the CPU. Many workers of one thread each are fastest; more threads lower "
        "the latency of a frame. With engine onnx on the CPU it is part of a dataset's identity: some networks are "
        "added up in another order.",
    )
    weights_path: PathText = Field(
        "", description="Folder of the weights. Empty: $PHOENIX_RAY_MODELS, else a folder in the user's cache."
    )
