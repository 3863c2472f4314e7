"""Masked scores: numbers such as -1e9 that say "not this one" to a softmax, and that no range should contain.

Masks that are subtracted are positive; here the numbers of such tensors, and their ranges, have the opposite sign.
"""

import math
from typing import Any

import numpy as np

from keras_distill.export.tflite import flatbuffer

# Below the first, nothing computes with a number; before a softmax, that already holds below the second.
_LEAST, _LEAST_SCORE = -1e8, -1e3
# exp(-6) of the least score that counts; the number in place of a masked one lies at least that far below all scores.
_MARGIN = 6.0
# Whatever else a tensor holds has to be far above what looks like a mask.
GAP = 10.0
# Operators that return one of their inputs' numbers at each place.
_MOVING = frozenset(
    {
        *("BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "GATHER", "MAXIMUM", "MINIMUM", "PACK", "PAD", "RESHAPE"),
        *("SELECT", "SELECT_V2", "SLICE", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK"),
    }
)
_TOWARDS_SOFTMAX = _MOVING | {"ADD", "CAST", "MUL", "SUB", "SOFTMAX"}


class Masks:
    """Finds masked numbers in a float model, and replaces them by numbers just below the others.

    Args:
        model: A `ModelT` of LiteRT's schema.

    Attributes:
        limits: For each tensor of the first graph, the number below which its numbers are masks.
        signs: For each tensor, -1 if its numbers are subtracted from scores, else 1.
    """

    def __init__(self, model: Any):
        self._model, self._graph = model, model.subgraphs[0]
        self._operators = [
            (flatbuffer.name_operator(model.operatorCodes[each.opcodeIndex]), list(each.inputs), list(each.outputs))
            for each in self._graph.operators
        ]
        self.signs = [1.0] * len(self._graph.tensors)
        self.limits = self._find_limits()

    def replace(self, ranges: dict[int, tuple[float, float]], masked: set[int]) -> dict[int, tuple[float, float]]:
        """Replace masked constants in the model, and return the ranges with room for what replaces masked numbers.

        Args:
            ranges: Dict of the index of a tensor to the range of its numbers that are not masks.
            masked: Indices of the tensors that hold masks too.
        """
        constants = self._read_constants()
        known = {index: (float(kept.min()), float(kept.max())) for index, (_, kept) in constants.items() if kept.size}
        known |= {index: ends for index, ends in ranges.items() if ends[1] >= self.limits[index]}
        masked = masked | {index for index, (hidden, _) in constants.items() if hidden.any()}
        # Tensors that hold nothing else need only be as small as what they are added to or selected for requires.
        needed = {index: 0.0 for index in masked - known.keys()}
        needed |= {
            index: known[index][0] - _MARGIN
            for index in masked & known.keys()
            if known[index][0] > self.limits[index] / GAP
        }
        for name, inputs, outputs in reversed(self._operators):
            if outputs[0] in needed:
                self._require(name, inputs, needed[outputs[0]], known, needed)
        needed = {index: least for index, least in needed.items() if least}
        for index in constants.keys() & needed.keys():
            self._write(index, np.where(constants[index][0], self.signs[index] * needed[index], self._read(index)))
        self._shrink_factors(constants, known, needed)
        changed = ranges.keys() & needed.keys()
        return ranges | {index: (needed[index], max(ranges[index][1], needed[index])) for index in changed}

    def _require(self, name, inputs, least, known, needed) -> None:
        """Let the masked inputs of an operator be so small that its masked outputs are at most `least`."""
        for place, index in enumerate(inputs):
            wanted = least
            if index not in needed or name not in _MOVING | {"ADD", "MUL", "SUB"}:
                continue
            if name in ("ADD", "MUL", "SUB"):
                other = inputs[1 - place]
                low, high = known.get(other, (0.0, 0.0))
                if name == "MUL":
                    wanted = least / low if low == high > 0 else needed[index]
                else:
                    subtracted = name == "SUB" and place == 0 and self.signs[other] > 0
                    wanted = least + low if subtracted else least - high
            needed[index] = min(needed[index], wanted)

    def _shrink_factors(self, constants, known, needed) -> None:
        """Shrink constants such as the -1e9 that a mask of zeros and ones is multiplied by."""
        factors: dict[int, float] = {}
        for name, inputs, outputs in self._operators:
            if name != "MUL" or outputs[0] not in needed:
                continue
            for index, other in (inputs, inputs[::-1]):
                if index not in constants or other not in known:
                    continue
                number, wanted = self._read(index), needed[outputs[0]] * self.signs[outputs[0]]
                # The largest product of the sign that is wanted.
                ends = [end * self.signs[other] for end in known[other]]
                end = max((end for end in ends if end * number.max() * wanted > 0), key=abs, default=None)
                if number.size == 1 and abs(number.item()) >= -self.limits[outputs[0]] and end is not None:
                    factors[index] = max(wanted / end, factors.get(index, 0.0), key=abs)
        for index, factor in factors.items():
            self._write(index, np.array([factor], np.float32))

    def _find_limits(self) -> list[float]:
        readers: dict[int, list[tuple[str, int, bool]]] = {}
        for name, inputs, outputs in self._operators:
            for place, index in enumerate(inputs):
                readers.setdefault(index, []).append((name, outputs[0], name == "SUB" and place == 1))
        limits = [_LEAST] * len(self._graph.tensors)
        # Every reader of a tensor comes after it.
        for _, inputs, outputs in reversed(self._operators):
            for index in (*outputs, *inputs):
                found = readers.get(index, [])
                scores = [name == "SOFTMAX" or limits[output] == _LEAST_SCORE for name, output, _ in found]
                if found and all(scores) and all(name in _TOWARDS_SOFTMAX for name, _, _ in found):
                    limits[index] = _LEAST_SCORE
                    if all(subtracted or self.signs[output] < 0 for _, output, subtracted in found):
                        self.signs[index] = -1.0
        return limits

    def _read_constants(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return, for each float constant, where its numbers are masks, and the other numbers."""
        found = {}
        for index, tensor in enumerate(self._graph.tensors):
            if flatbuffer.name_type(tensor.type) == "FLOAT32" and flatbuffer.is_constant(self._model, tensor):
                numbers = self.signs[index] * self._read(index)
                hidden = numbers < self.limits[index]
                found[index] = hidden, numbers[~hidden]
        return found

    def _read(self, index: int) -> np.ndarray:
        return np.array(self._model.buffers[self._graph.tensors[index].buffer].data, np.uint8).view(np.float32)

    def _write(self, index: int, numbers: np.ndarray) -> None:
        buffer = self._model.buffers[self._graph.tensors[index].buffer]
        buffer.data = np.ascontiguousarray(numbers, np.float32).view(np.uint8)


def hide(values: np.ndarray, limit: float) -> tuple[np.ndarray, bool, float]:
    """Return the finite numbers that are not masks, whether there are masks, and the least finite number.

    Example:
        >>> hide(np.float32([1, -2, -1e9, -np.inf, np.inf]), -1e8)
        (array([ 1., -2.], dtype=float32), True, -1000000000.0)
    """
    finite = values[np.isfinite(values)]
    return finite[finite >= limit], bool((values < limit).any()), float(finite.min(initial=math.inf))
