"""Rewrite graphs as ``tf2onnx`` leaves them: only what is read, any number of inputs, no quantised arithmetic."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import make_node, make_tensor_value_info

_SIZE = "batch_size"
"""What the graph calls the number of its inputs, where it needs it."""


def keep_outputs(graph: onnx.GraphProto, count: int) -> None:
    """Keep the first ``count`` outputs, and of the nodes those that they need."""
    del graph.output[count:]
    _drop_unused(graph)


def free_batch(graph: onnx.GraphProto) -> None:
    """Let a graph made for one input take any number of them, along the first axis of inputs and outputs."""
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for initializer in graph.initializer:
        shape = numpy_helper.to_array(initializer)
        if initializer.name in shapes and shape.size > 1 and shape[0] == 1:
            kept = np.concatenate([[0], shape[1:]]).astype(shape.dtype)  # 0: as it comes
            initializer.CopyFrom(numpy_helper.from_array(kept, initializer.name))
    _repeat_constants(graph)
    _keep_every_row(graph)
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]


def drop_quantization(graph: onnx.GraphProto) -> None:
    """Calculate in floating point, with the weights as they were quantised: a GPU has no kernels for these integers.

    Activations are no longer rounded to 8 bits between layers.
    """
    constants = {initializer.name: initializer for initializer in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    instead: dict[str, str] = {}
    dropped: set[str] = set()
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        (target,) = node.output
        maker = makers.get(node.input[0])
        if node.input[0] in constants:
            values = _dequantized(node, [numpy_helper.to_array(constants[name]) for name in node.input])
            graph.initializer.append(numpy_helper.from_array(values, target))
        elif maker is not None and maker.op_type == "QuantizeLinear":
            instead[target] = maker.input[0]
        else:
            continue
        dropped.add(target)
    nodes = [node for node in graph.node if not dropped.intersection(node.output)]
    for node in nodes:
        for index, name in enumerate(node.input):
            while name in instead:
                name = instead[name]
            node.input[index] = name
    _set_nodes(graph, nodes)
    _drop_unused(graph)
    del graph.value_info[:]


def _dequantized(node: onnx.NodeProto, tensors: list[NDArray[np.generic]]) -> NDArray[np.float32]:
    quantised, scale, zero = (np.asarray(tensor) for tensor in tensors)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    if scale.size > 1:
        shape = [1] * quantised.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((quantised.astype(np.int32) - zero.astype(np.int32)) * scale).astype(np.float32)


def _repeat_constants(graph: onnx.GraphProto) -> None:
    """Repeat constants that are joined to each input's values (a token of a transformer) for every input."""
    constants = {initializer.name: initializer for initializer in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        joined = [name for name in node.input if name in constants] if node.op_type == "Concat" else []
        if 0 < len(joined) < len(node.input):
            for name in joined:
                nodes += _repeated(graph, constants[name])
            names = [f"{name}_repeated" if name in joined else name for name in node.input]
            del node.input[:]
            node.input.extend(names)
        nodes.append(node)
    if len(nodes) == len(graph.node):
        return
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{_SIZE}_axis"))
    size = [
        make_node("Shape", [graph.input[0].name], [f"{_SIZE}_shape"]),
        make_node("Gather", [f"{_SIZE}_shape", f"{_SIZE}_axis"], [_SIZE], axis=0),
    ]
    _set_nodes(graph, [*size, *nodes])


def _keep_every_row(graph: onnx.GraphProto) -> None:
    """Give out a row per input where a graph gives out its first row alone, as a vector."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    for index, output in enumerate(graph.output):
        squeeze = makers[output.name]
        if squeeze.op_type != "Squeeze" or constants[squeeze.input[1]].tolist() != [0]:
            continue
        slice_ = makers[squeeze.input[0]]
        rows = makers[slice_.input[0]]
        rows.output[0] = output.name
        kept = [node for node in graph.node if node not in (squeeze, slice_)]
        kind = output.type.tensor_type
        lengths = [1, *(dimension.dim_value for dimension in kind.shape.dim)]
        graph.output[index].CopyFrom(make_tensor_value_info(output.name, kind.elem_type, lengths))
        _set_nodes(graph, kept)
    _drop_unused(graph)


def _repeated(graph: onnx.GraphProto, constant: onnx.TensorProto) -> list[onnx.NodeProto]:
    name = constant.name
    rest = np.array(list(constant.dims)[1:], np.int64)
    graph.initializer.append(numpy_helper.from_array(rest, f"{name}_rest"))
    return [
        make_node("Concat", [_SIZE, f"{name}_rest"], [f"{name}_dimensions"], axis=0),
        make_node("Expand", [name, f"{name}_dimensions"], [f"{name}_repeated"]),
    ]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Leave out nodes and constants that no output depends on."""
    wanted = {output.name for output in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    _set_nodes(graph, nodes[::-1])
    constants = [initializer for initializer in graph.initializer if initializer.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
