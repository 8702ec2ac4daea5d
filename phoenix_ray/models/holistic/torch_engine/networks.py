"""Holistic's networks in torch, each on all crops of a batch at once; `networks.Networks` on tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import fx, nn

from phoenix_ray.config import Precision
from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_LOGIT,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    POSE_LOGIT,
    Detections,
    FaceOutput,
    HandOutput,
    NetworkInput,
    PoseOutput,
    input_values,
)
from phoenix_ray.models.holistic.torch_engine import graph
from phoenix_ray.models.holistic.torch_engine.layers import MakeLayer, by_library, in_order
from phoenix_ray.models.weights import reading

# Outputs of the face networks. Left and right in their names are those of the picture; `FaceOutput` has the person's
# right eye first.
FACE_OUTPUTS = {
    468: ("conv2d_21", "conv2d_31"),
    478: (
        *("output_mesh_identity", "conv_faceflag", "output_lips"),
        *("output_left_eye", "output_right_eye", "output_left_iris", "output_right_iris"),
    ),
}

# Layers whose inputs and weights half precision rounds.
_LAYERS = (nn.Conv2d, nn.Linear, nn.PReLU)


class TorchNetworks:
    """Holistic's networks on one device.

    Args:
        weights: Folder of the `.tflite` files that `networks` names.
        face_points: 468 or 478.
        device: Where they compute. Crops and outputs may lie elsewhere.
        precision: 'exact' adds up in the CPU engine's order, the others as is fastest. 'fp16' rounds layers to half
            precision; what 'tf32' does is a matter of `torch_numerics.numerics`.
        make_layer: `torch_layers.in_order` or `torch_layers.by_library`, if not as the precision wants it.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(
        self,
        weights: Path,
        face_points: int,
        device: torch.device,
        precision: Precision,
        make_layer: MakeLayer | None = None,
    ) -> None:
        make_layer = make_layer or (in_order if precision == "exact" else by_library)
        # Libraries are fastest where the channels of a cell lie together, and cannot keep an order there.
        memory_format = torch.contiguous_format if make_layer is in_order else torch.channels_last

        def load(expects: NetworkInput, *outputs: str) -> ImageNetwork:
            with reading(weights / expects.file) as path:
                module = graph.build(tflite.read(path.read_bytes(), outputs), make_layer)
                return ImageNetwork(module, expects, device, precision, memory_format)

        self.face_points = face_points
        self._pose_detection = load(POSE_DETECTION, "Identity", "Identity_1")
        self._pose_landmark = load(POSE_LANDMARK, "Identity", POSE_LOGIT, "Identity_3", "Identity_4")
        self._hand_recrop = load(HAND_RECROP, "output_crop")
        self._hand_landmark = load(HAND_LANDMARK, "Identity", HAND_LOGIT)
        self._face_detection = load(FACE_DETECTION, "regressors", "classificators")
        self._face_landmark = load(FACE_LANDMARK[face_points], *FACE_OUTPUTS[face_points])

    def pose_detection(self, crops: torch.Tensor) -> Detections:
        """Return 2254 boxes with 4 keypoints."""
        regressors, logits = self._pose_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def pose_landmark(self, crops: torch.Tensor) -> PoseOutput:
        """Return the pose in the middle of each crop."""
        points, logit, heatmap, world = self._pose_landmark(crops)
        return PoseOutput(points.reshape(-1, 39, 5), logit.reshape(-1), heatmap, world.reshape(-1, 39, 3))

    def hand_recrop(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the middle of a hand and a point on its edge."""
        (points,) = self._hand_recrop(crops)
        return points.reshape(-1, 2, 2)

    def hand_landmark(self, crops: torch.Tensor) -> HandOutput:
        """Return the hand in the middle of each crop."""
        points, logit = self._hand_landmark(crops)
        return HandOutput(points.reshape(-1, 21, 3), logit[:, 0])

    def face_detection(self, crops: torch.Tensor) -> Detections:
        """Return 896 boxes with 6 keypoints."""
        regressors, logits = self._face_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def face_landmark(self, crops: torch.Tensor) -> FaceOutput:
        """Return the face in the middle of each crop."""
        mesh, logit, *refinements = self._face_landmark(crops)
        contours = tuple(points.reshape(len(points), -1, 2) for points in refinements)
        return FaceOutput(mesh.reshape(-1, 468, 3), contours, logit.reshape(-1))


class ImageNetwork:
    """A network from crops to tensors.

    Args:
        module: The network, of `torch_graph`; it is changed.
        expects: What the network wants to see.
        device: Where it computes.
        precision: Of its layers.
        memory_format: Of its feature maps.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        expects: NetworkInput,
        device: torch.device,
        precision: Precision,
        memory_format: torch.memory_format,
    ) -> None:
        values = torch.from_numpy(input_values(expects.lowest))
        if precision == "fp16":
            module, values = to_half_precision(module), values.half()
        self._module = module.to(device=device, memory_format=memory_format)
        self._values = values.to(device)
        self._memory_format = memory_format

    def __call__(self, crops: torch.Tensor) -> list[torch.Tensor]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...) on the device of the crops."""
        levels = crops.to(self._values.device).reshape(-1).to(torch.int32)
        images = self._values.index_select(0, levels).reshape(crops.shape).permute(0, 3, 2, 1)
        outputs = self._module(images.contiguous(memory_format=self._memory_format))
        return [output.to(crops.device, torch.float32) for output in outputs]


def to_half_precision(module: fx.GraphModule) -> fx.GraphModule:
    """Return a network of `torch_graph` with half-precision layers but for those that give its outputs.

    Landmarks are numbers of up to 256 pixels, and half precision counts these in steps of 1/8. So the last layers
    before the outputs, which are small, and all that comes after them stay in float32.
    """
    layers = dict(module.named_modules())
    exact = _nodes_of_outputs(module.graph, layers)
    module.half()
    for node in module.graph.nodes:
        if node not in exact:
            continue
        if node.op == "call_module":
            layers[node.target].float()
            with module.graph.inserting_before(node):
                node.args = (module.graph.call_method("float", (node.args[0],)),)
        elif node.op == "get_attr":
            buffer = module.get_buffer(node.target)
            buffer.data = buffer.data.float()
    module.recompile()
    return module


def _nodes_of_outputs(graph: fx.Graph, layers: dict[str, nn.Module]) -> set[fx.Node]:
    """Return the last layers on every way to an output, and the nodes between."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    found: set[fx.Node] = set()
    waiting = list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            is_layer = node.op == "call_module" and isinstance(layers[node.target], _LAYERS)
            waiting += () if is_layer else node.all_input_nodes
    return found
