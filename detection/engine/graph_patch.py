"""Rewrite ONNX graphs once, after they are fetched, so that ONNX Runtime runs them fast and at any size.

The numbers stay the same (tests compare a patched graph with its original, to 1e-4). Needs the ``onnx`` package, which
nothing at run time does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import make_node


def apply(patch: str, source: Path, target: Path) -> None:
    """Write ``source`` with the rewrite called ``patch`` to ``target``; an unknown name raises ``ValueError``.

    The file appears whole or not at all.
    """
    if patch not in PATCHES:
        raise ValueError(f"There is no graph patch {patch!r}; there are {', '.join(PATCHES)}")
    model = onnx.load(source)
    PATCHES[patch](model)
    onnx.checker.check_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    onnx.save(model, partial)
    partial.replace(target)


def _patch_prelu(model: onnx.ModelProto) -> None:
    """Make SFace fast: constants that are constants, no PReLU, any number of faces at once."""
    _freeze_constants(model.graph)
    _replace_prelu(model.graph)
    _free_dimensions(model.graph, {0: "batch"})


def _patch_dynamic_shape(model: onnx.ModelProto) -> None:
    """Let YuNet take any number of pictures of any size (height and width multiples of 32)."""
    _free_reshapes(model.graph)
    _free_dimensions(model.graph, {0: "batch", 2: "height", 3: "width"})
    for output in model.graph.output:  # boxes per picture follow from its size
        output.type.tensor_type.shape.dim[1].dim_param = f"{output.name}_count"


def _freeze_constants(graph: onnx.GraphProto) -> None:
    """Take initialisers out of the inputs: there they could be overridden, so nothing is folded into them."""
    constants = {initializer.name for initializer in graph.initializer}
    inputs = [node for node in graph.input if node.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)


def _replace_prelu(graph: onnx.GraphProto) -> None:
    """Write PReLU as ``a·x + (1-a)·relu(x)``, the products as depthwise 1 x 1 convolutions.

    ONNX Runtime's blocked convolutions have no PReLU and convert the layout before and after each one.
    """
    slopes = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        slope = slopes.get(node.input[1]) if node.op_type == "PRelu" else None
        if slope is None or slope.ndim != 3:
            nodes.append(node)
        else:
            nodes += _prelu_as_convolutions(graph, node, slope)
    del graph.node[:]
    graph.node.extend(nodes)


def _prelu_as_convolutions(graph: onnx.GraphProto, node: onnx.NodeProto, slope: np.ndarray) -> list[onnx.NodeProto]:
    source, name, channels = node.input[0], node.name or node.output[0], slope.shape[0]
    weights = slope.reshape(channels, 1, 1, 1).astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(weights, f"{name}_slope"))
    graph.initializer.append(numpy_helper.from_array(1 - weights, f"{name}_rest"))
    return [
        make_node("Relu", [source], [f"{name}_positive"], f"{name}_relu"),
        make_node("Conv", [source, f"{name}_slope"], [f"{name}_sloped"], f"{name}_conv_slope", group=channels),
        make_node("Conv", [f"{name}_positive", f"{name}_rest"], [f"{name}_kept"], f"{name}_conv_rest", group=channels),
        make_node("Add", [f"{name}_sloped", f"{name}_kept"], [node.output[0]], f"{name}_add"),
    ]


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Let reshapes keep the batch dimension (0: as it comes) where the exporter wrote its own batch of 1."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for initializer in graph.initializer:
        if initializer.name in shapes:
            shape = numpy_helper.to_array(initializer).copy()
            if shape.size > 1 and shape[0] == 1:
                shape[0] = 0
                initializer.CopyFrom(numpy_helper.from_array(shape, initializer.name))


def _free_dimensions(graph: onnx.GraphProto, names: Mapping[int, str]) -> None:
    """Name dimensions of the inputs instead of fixing them, and the outputs' batch; drop the shapes in between."""
    for node in graph.input:
        dimensions = node.type.tensor_type.shape.dim
        for index, name in names.items():
            dimensions[index].dim_param = name
    for node in graph.output:
        node.type.tensor_type.shape.dim[0].dim_param = names[0]
    del graph.value_info[:]


PATCHES: Mapping[str, Callable[[onnx.ModelProto], None]] = {
    "prelu": _patch_prelu,
    "dynamic_shape": _patch_dynamic_shape,
}
