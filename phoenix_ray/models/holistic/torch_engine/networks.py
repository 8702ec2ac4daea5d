"""Holistic's networks in torch, each on all crops of a batch at once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import fx, nn

from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.networks import Networks, NetworkSpec, input_values
from phoenix_ray.models.holistic.torch_engine.graph import build_module
from phoenix_ray.models.holistic.torch_engine.layers import MakeLayer, by_library, in_order
from phoenix_ray.models.weights import reading
from phoenix_ray.setting_types import Precision

# Layers whose inputs and weights half precision rounds.
_LAYERS = (nn.Conv2d, nn.Linear, nn.PReLU)


class TorchNetworks(Networks):
    """Holistic's networks on one device.

    Args:
        weights: Folder of the `.tflite` files.
        face_points: 468 or 478, or 0 for the pose alone.
        device: Where the networks compute. Crops and outputs may lie elsewhere.
        precision: 'exact' adds up in the CPU engine's order, the others in whatever order is fastest. 'fp16' rounds
            layers to half precision; 'tf32' takes effect through `device.numerics`.
        make_layer: `layers.in_order` or `layers.by_library`; None chooses by the precision.
        complexity: Of the pose network: 0, 1 or 2.

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
        complexity: int = 1,
    ) -> None:
        make_layer = make_layer or (in_order if precision == "exact" else by_library)
        # Libraries are fastest where the channels of a cell lie together, and cannot keep an order there.
        memory_format = torch.contiguous_format if make_layer is in_order else torch.channels_last

        def load(spec: NetworkSpec) -> TorchNetwork:
            with reading(weights / spec.file) as path:
                # Dead channels stay: a library adds up fewer channels in another order, and datasets that were begun
                # with torch's operators are continued with the same bits.
                module = build_module(tflite.read(path.read_bytes(), spec.outputs), make_layer)
                return TorchNetwork(module, spec, device, precision, memory_format)

        super().__init__(face_points, load, complexity)


class TorchNetwork:
    """A network from crops to tensors.

    Args:
        module: The network, from `graph.build_module`; it is changed.
        spec: The network's input.
        device: Where it computes.
        precision: Precision of its layers.
        memory_format: Memory format of its feature maps.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        spec: NetworkSpec,
        device: torch.device,
        precision: Precision,
        memory_format: torch.memory_format,
    ) -> None:
        values = torch.from_numpy(input_values(spec.lowest))
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
    """Return a network of `graph.build_module` in half precision, except for the layers that compute its outputs.

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
    """Return the last layer on each path to an output, and the nodes that follow it."""
    (output,) = (node for node in graph.nodes if node.op == "output")
    found: set[fx.Node] = set()
    waiting = list(output.all_input_nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            is_layer = node.op == "call_module" and isinstance(layers[node.target], _LAYERS)
            if not is_layer:
                waiting += node.all_input_nodes
    return found
