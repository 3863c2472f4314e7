"""The cases of a file of vectors: inputs, expected outputs, and a record of which arrays were checked."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tests.gradients import value_and_gradient

# Arrays that only record the error of the published code in float32.
REFERENCE_ONLY = ("loss_float32", "grad_maxerr_float32")
TOLERANCES = {"float64": (1e-9, 1e-12), "float32": (1e-4, 1e-6)}
if keras.ops.ones(1, "float64").dtype != "float64":
    del TOLERANCES["float64"]  # JAX has float64 only if it is enabled before it starts.


class Case:
    """The arrays of one case. Floats are cast to the precision under test, and each key that is read is recorded.

    Args:
        name: Name of the case, such as `"base_T4"`.
        arrays: Dict from key to array, as stored.
        dtype: `"float64"` or `"float32"`.
    """

    def __init__(self, name, arrays, dtype):
        self.name, self.arrays, self.dtype = name, arrays, dtype
        self.read = set()

    def __contains__(self, key):
        return key in self.arrays

    def __getitem__(self, key):
        """Return an array: floats in the precision under test, integers unchanged."""
        self.read.add(key)
        array = self.arrays[key]
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def number(self, key):
        """Return a scalar as a Python number, unrounded."""
        self.read.add(key)
        return self.arrays[key].item()

    def stages(self, prefix):
        """Return the arrays `prefix_0`, `prefix_1`, ... as a list."""
        count = sum(key.startswith(f"{prefix}_") and key[len(prefix) + 1 :].isdigit() for key in self.arrays)
        return [self[f"{prefix}_{index}"] for index in range(count)]

    @property
    def inputs(self):
        """Names of the arrays for which a gradient is stored."""
        return sorted({split_gradient(key, self)[1] for key in self.arrays if is_gradient(key)})


@dataclasses.dataclass(frozen=True)
class Quantities:
    """What a method computes for a case.

    Args:
        losses: Dict from the name of a part (`""` for the loss itself, `"tckd"` for `loss_tckd`) to a function of the
            inputs, a dict of tensors, that returns the scalar. Its gradients are compared too.
        values: Dict from the name of a stored array to a function of the inputs that returns it.
    """

    losses: dict[str, Callable]
    values: dict[str, Callable] = dataclasses.field(default_factory=dict)


def is_gradient(key):
    """Return whether a key names a gradient."""
    return key.startswith("grad_") and key not in REFERENCE_ONLY


def split_gradient(key, case):
    """Split `grad_<input>` or `grad_<part>_<input>` into the part and the input, an array of the case."""
    rest = key.removeprefix("grad_")
    if rest in case.arrays and not case.arrays[rest].shape:
        return rest, "student_logits"  # `grad_logit_matching_limit` is the gradient of another value of the case.
    words = rest.split("_")
    for start in range(len(words)):
        if "_".join(words[start:]) in case.arrays:
            return "_".join(words[:start]), "_".join(words[start:])
    raise KeyError(f"{key} names no input of the case {case.name}")


def check_case(quantities, case):
    """Compare every stored array of a case, and return a list of failures as sentences."""
    tensors = {name: keras.ops.convert_to_tensor(case[name]) for name in case.inputs}
    # Arrays `..._nchw` repeat others in another layout.
    stored = {key for key in case.arrays if key not in REFERENCE_ONLY and not key.endswith("_nchw")}
    misses, seen = [], set()
    for part, function in quantities.losses.items():
        gradients = [key for key in stored if is_gradient(key) and split_gradient(key, case)[0] == part]
        wanted = {split_gradient(key, case)[1]: key for key in gradients}
        some = {name: tensors[name] for name in wanted}
        value, found = value_and_gradient(lambda some, function=function: function({**tensors, **some}), some)
        key = part if part in stored else f"loss_{part}" if part else "loss"
        if key in stored:
            seen.add(key)
            misses += _compare(key, value, case)
        for name, key in wanted.items():
            seen.add(key)
            gradient = np.zeros(tensors[name].shape) if found[name] is None else found[name]
            misses += _compare(key, gradient, case)
    for key, function in quantities.values.items():
        seen.add(key)
        misses += _compare(key, function(tensors), case)
    return misses + [f"{key} was not checked" for key in sorted(stored - seen - case.read)]


def _compare(key, value, case):
    rtol, atol = TOLERANCES[case.dtype]
    value, wanted = np.asarray(value, "float64"), np.asarray(case.arrays[key], "float64")
    if value.shape != wanted.shape:
        return [f"{key} has shape {value.shape}, not {wanted.shape}"]
    excess = np.abs(value - wanted) - (atol + rtol * np.abs(wanted))
    if np.all(excess <= 0.0):
        return []
    worst = np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), wanted.shape)
    return [f"{key}: {value[worst]:.17g} instead of {wanted[worst]:.17g}"]
