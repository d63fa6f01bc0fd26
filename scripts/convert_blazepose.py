# SPDX-License-Identifier: Apache-2.0
"""Turn the original .tflite files (BlazePose, hands) into the safetensors that ship in ikol/regressor/data.

Run scripts/fetch_blazepose first. What changes: float16 values stay the same bits, sparse weights are written out in
full, weights go from TensorFlow's layout to torch's, paddings become explicit numbers, operations that only feed the
segmentation map are left out, fully connected layers become convolutions of one pixel. The list of operations is JSON
in the file's metadata, read by ikol/regressor/graph.py. The FlatBuffer is read with numpy alone, by the field numbers
of TensorFlow Lite's schema.fbs (version 3).
"""

import argparse
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "ikol" / "regressor" / "data"

ADD, CONCAT, CONV, DEPTHWISE, DEPTH_TO_SPACE, DEQUANTIZE, FULLY_CONNECTED, SIGMOID = 0, 2, 3, 4, 5, 6, 9, 14
MAX_POOL, RESHAPE, RESIZE_BILINEAR, PAD, MEAN, DENSIFY = 17, 22, 23, 34, 40, 124
ACTIVATIONS = {0: "none", 1: "relu", 3: "relu6"}
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
SAME = 0

OUTPUTS = {  # our name of an output -> its place among the file's outputs
    "blazepose_detector": {"boxes": 0, "scores": 1},
    "blazepose_full": {"landmarks": 0, "presence": 1, "heatmap": 3, "world": 4},
    "blazepose_heavy": {"landmarks": 0, "presence": 1, "heatmap": 3, "world": 4},
    "mediapipe_hand": {"landmarks": 0, "presence": 1, "handedness": 2, "world": 3},
}

Op = dict[str, Any]


class Table:
    """One table of a FlatBuffer: fields are found through the table's vtable, absent ones have a default."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.vtable = position - struct.unpack_from("<i", data, position)[0]
        self.vtable_size = struct.unpack_from("<H", data, self.vtable)[0]

    def _field(self, index: int) -> int | None:
        slot = 4 + 2 * index
        if slot >= self.vtable_size:
            return None
        offset = struct.unpack_from("<H", self.data, self.vtable + slot)[0]
        return self.position + offset if offset else None

    def _follow(self, position: int) -> int:
        return position + struct.unpack_from("<I", self.data, position)[0]

    def number(self, index: int, code: str, default: int = 0) -> int:
        """Return a scalar field; ``code`` is its struct format."""
        position = self._field(index)
        return default if position is None else struct.unpack_from("<" + code, self.data, position)[0]

    def table(self, index: int) -> "Table | None":
        """Return a field that is a table, or None."""
        position = self._field(index)
        return None if position is None else Table(self.data, self._follow(position))

    def array(self, index: int, dtype: Any) -> np.ndarray:
        """Return a field that is a vector of numbers."""
        position = self._field(index)
        if position is None:
            return np.zeros(0, dtype)
        start = self._follow(position)
        (length,) = struct.unpack_from("<I", self.data, start)
        return np.frombuffer(self.data, dtype, length, start + 4)

    def tables(self, index: int) -> list["Table"]:
        """Return a field that is a vector of tables."""
        position = self._field(index)
        if position is None:
            return []
        start = self._follow(position)
        (length,) = struct.unpack_from("<I", self.data, start)
        return [Table(self.data, self._follow(start + 4 + 4 * i)) for i in range(length)]


NO_OPTIONS = Table(bytes(8), 4)  # a table whose vtable is empty: every field has its default


def _index_vector(metadata: Table, type_field: int) -> np.ndarray:
    dtype = {1: np.int32, 2: np.uint16, 3: np.uint8}[metadata.number(type_field, "b")]
    vector = metadata.table(type_field + 1)
    assert vector is not None
    return vector.array(0, dtype).astype(np.int64)


def densify(values: np.ndarray, shape: list[int], sparsity: Table) -> np.ndarray:
    """Write a sparse tensor out in full.

    The format is TACO's: levels in traversal order, dense (all indices) or compressed (segments and indices), where the
    last levels may be blocks of earlier dimensions. Every level multiplies the list of stored coordinates.
    """
    order = sparsity.array(0, np.int32)
    block_map = sparsity.array(1, np.int32)
    levels = sparsity.tables(2)
    rank = len(shape)
    slot = np.zeros(1, np.int64)  # place of each coordinate prefix among the values of its level
    prefix = np.zeros((1, 0), np.int64)
    for level in levels:
        if level.number(0, "b") == 0:
            size = level.number(1, "i")
            index = np.tile(np.arange(size), len(slot))
            prefix = np.repeat(prefix, size, axis=0)
            slot = np.repeat(slot, size) * size + index
        else:
            segments, indices = _index_vector(level, 2), _index_vector(level, 4)
            counts = segments[slot + 1] - segments[slot]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            prefix = np.repeat(prefix, counts, axis=0)
            slot = np.repeat(segments[slot], counts) + within
            index = indices[slot]
        prefix = np.concatenate([prefix, index[:, None]], axis=1)
    block_size = np.ones(rank, np.int64)
    for block, dimension in enumerate(block_map):
        block_size[dimension] = levels[rank + block].number(1, "i")
    coordinates = np.zeros((len(slot), rank), np.int64)
    for column, dimension in enumerate(order):
        if dimension < rank:
            coordinates[:, dimension] += prefix[:, column] * block_size[dimension]
        else:
            coordinates[:, block_map[dimension - rank]] += prefix[:, column]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(coordinates.T)] = values[slot]
    return dense


@dataclass
class TfliteGraph:
    """The parts of a .tflite file that are needed: operations, tensor shapes (NHWC) and constant tensors."""

    operators: list[tuple[int, list[int], list[int], Table]]
    shapes: list[list[int]]
    constants: dict[int, np.ndarray]
    inputs: list[int]
    outputs: list[int]


def read_tflite(data: bytes) -> TfliteGraph:
    model = Table(data, struct.unpack_from("<I", data, 0)[0])
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    (graph,) = model.tables(2)
    buffers = model.tables(4)
    tensors = graph.tables(0)
    shapes = [tensor.array(0, np.int32).tolist() for tensor in tensors]
    constants: dict[int, np.ndarray] = {}
    for i, tensor in enumerate(tensors):
        raw = buffers[tensor.number(2, "I")].array(0, np.uint8)
        if len(raw):
            values = np.frombuffer(raw.tobytes(), DTYPES[tensor.number(1, "b")])
            sparsity = tensor.table(6)
            constants[i] = densify(values, shapes[i], sparsity) if sparsity else values.reshape(shapes[i])
    operators: list[tuple[int, list[int], list[int], Table]] = []
    for operator in graph.tables(3):
        code = codes[operator.number(0, "I")]
        inputs, outputs = operator.array(1, np.int32).tolist(), operator.array(2, np.int32).tolist()
        if code in (DEQUANTIZE, DENSIFY):  # float16 is widened, and sparse weights are filled, when the file is loaded
            constants[outputs[0]] = constants[inputs[0]]
        else:
            operators.append((code, inputs, outputs, operator.table(4) or Table(b"\4\0\4\0\4\0\0\0", 4)))
    inputs, outputs = graph.array(1, np.int32).tolist(), graph.array(2, np.int32).tolist()
    return TfliteGraph(operators, shapes, constants, inputs, outputs)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's SAME padding before and after; the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Converter:
    """Collects operations and weights in our form while it walks over the original ones."""

    def __init__(self, graph: TfliteGraph) -> None:
        self.graph = graph
        self.ops: list[Op] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.padded: dict[int, tuple[int, list[int]]] = {}  # spatially padded value -> the unpadded one, its padding

    def convert(self) -> None:
        """Convert every operation of the graph."""
        for code, inputs, outputs, options in self.graph.operators:
            if code in (CONV, DEPTHWISE):
                self._convolution(code == DEPTHWISE, inputs, outputs[0], options)
            elif code == PAD:
                self._pad(inputs, outputs[0])
            elif code == FULLY_CONNECTED:
                self._fully_connected(inputs, outputs[0], options)
            else:
                op = self._plain(code, inputs, outputs[0], options)
                assert not any(value in self.padded for value in op["inputs"]), "only convolutions take padded values"
                self.ops.append(op)

    def _plain(self, code: int, inputs: list[int], output: int, options: Table) -> Op:
        shape = self.graph.shapes[output]
        if code == ADD:
            return {"op": "add", "inputs": inputs, "output": output, "act": ACTIVATIONS[options.number(0, "b")]}
        if code == CONCAT:
            assert len(shape) == 3, "only flattened values are joined"
            return {"op": "concat", "inputs": inputs, "output": output, "dim": options.number(0, "i")}
        op: Op = {"inputs": inputs[:1], "output": output}
        if code == DEPTH_TO_SPACE:
            return {"op": "depth_to_space", **op, "block": options.number(0, "i")}
        if code == SIGMOID:
            return {"op": "sigmoid", **op}
        if code == MEAN:
            assert self.graph.constants[inputs[1]].tolist() == [1, 2], "the mean is over the picture"
            return {"op": "mean", **op}
        if code == RESHAPE:
            return {"op": "flatten", **op, "shape": shape[1:]}
        if code == MAX_POOL:
            window = [options.number(i, "i") for i in (4, 3)]
            assert options.number(0, "b") != SAME
            assert window == [options.number(i, "i") for i in (2, 1)], "window and stride are equal"
            return {"op": "max_pool", **op, "window": window}
        assert code == RESIZE_BILINEAR, f"operation {code} does not occur in these networks"
        assert not options.number(2, "b"), "align_corners does not occur"
        assert options.number(3, "b"), "half-pixel centres only"
        return {"op": "resize", **op, "size": shape[1:3]}

    def _pad(self, inputs: list[int], output: int) -> None:
        (batch, rows, columns, channels) = self.graph.constants[inputs[1]].tolist()
        assert batch == [0, 0]
        if rows == columns == [0, 0]:
            assert channels[0] == 0
            self.ops.append({"op": "pad_channels", "inputs": inputs[:1], "output": output, "count": channels[1]})
        else:
            assert channels == [0, 0]
            self.padded[output] = (inputs[0], [*rows, *columns])

    def _convolution(self, depthwise: bool, inputs: list[int], output: int, options: Table) -> None:
        stride = [options.number(2, "i", 1), options.number(1, "i", 1)]
        assert options.number(5 if depthwise else 4, "i", 1) == 1, "no dilation"
        weight = self.graph.constants[inputs[1]]
        weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
        source, padding = self.padded.get(inputs[0], (inputs[0], [0, 0, 0, 0]))
        if options.number(0, "b") == SAME:
            assert padding == [0, 0, 0, 0]
            size = self.graph.shapes[inputs[0]][1:3]
            padding = [p for axis in (0, 1) for p in same_padding(size[axis], weight.shape[2 + axis], stride[axis])]
        groups = weight.shape[0] if depthwise else 1
        activation = ACTIVATIONS[options.number(4 if depthwise else 3, "b")]
        self._add([source], output, weight, inputs[2], stride, padding, groups, activation)

    def _fully_connected(self, inputs: list[int], output: int, options: Table) -> None:
        weight = self.graph.constants[inputs[1]][:, :, None, None]
        self._add(inputs[:1], output, weight, inputs[2], [1, 1], [0, 0, 0, 0], 1, ACTIVATIONS[options.number(0, "b")])

    def _add(
        self,
        inputs: list[int],
        output: int,
        weight: np.ndarray,
        bias: int,
        stride: list[int],
        padding: list[int],
        groups: int,
        activation: str,
    ) -> None:
        name = f"conv{output}"
        self.tensors[name + ".weight"] = np.ascontiguousarray(weight)
        self.tensors[name + ".bias"] = np.ascontiguousarray(self.graph.constants[bias])
        self.ops.append(
            {
                "op": "conv",
                "inputs": inputs,
                "output": output,
                "name": name,
                "stride": stride,
                "padding": padding,
                "groups": groups,
                "act": activation,
            }
        )

    def prune(self, outputs: list[int]) -> None:
        """Leave out what none of the outputs needs: the segmentation branch."""
        needed = set(outputs)
        kept: list[Op] = []
        for op in reversed(self.ops):
            if op["output"] in needed:
                needed.update(op["inputs"])
                kept.append(op)
            else:
                self.tensors.pop(f"{op.get('name')}.weight", None)
                self.tensors.pop(f"{op.get('name')}.bias", None)
        self.ops = kept[::-1]


def to_half(name: str, values: np.ndarray) -> np.ndarray:
    half = values.astype(np.float16)
    assert np.array_equal(half.astype(np.float32), values.astype(np.float32)), f"{name} does not fit float16"
    return half


def convert(name: str, data: bytes, source_sha256: str) -> bytes:
    """Return the bytes of the .safetensors of one network."""
    graph = read_tflite(data)
    converter = Converter(graph)
    converter.convert()
    outputs = {key: graph.outputs[place] for key, place in OUTPUTS[name].items()}
    converter.prune(list(outputs.values()))
    description = {
        "version": 1,
        "source_sha256": source_sha256,
        "input": graph.inputs[0],
        "input_size": graph.shapes[graph.inputs[0]][1],
        "outputs": outputs,
        "ops": converter.ops,
    }
    tensors = {key: to_half(key, values) for key, values in converter.tensors.items()}
    # One metadata key only: safetensors does not keep the order of several, and the file's hash is pinned.
    return save(tensors, metadata={"graph": json.dumps(description, separators=(",", ":"))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=ROOT / ".cache" / "blazepose", help="folder of the .tflite files"
    )
    parser.add_argument("--out", type=Path, default=DATA, help="folder of the results")
    arguments = parser.parse_args()
    manifest = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    for name, entry in manifest["networks"].items():
        data = (arguments.source / entry["source"]["file"]).read_bytes()
        got, expected = hashlib.sha256(data).hexdigest(), entry["source"]["sha256"]
        if got != expected:
            raise SystemExit(f"{entry['source']['file']} has SHA-256 {got}, expected {expected}; fetch it again")
        result = convert(name, data, expected)
        entry["sha256"] = hashlib.sha256(result).hexdigest()
        (arguments.out / f"{name}.safetensors").write_bytes(result)
        print(f"{name}.safetensors: {len(result)} bytes, SHA-256 {entry['sha256']}")
    (arguments.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
