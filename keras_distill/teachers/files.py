"""What file teachers have in common: a path, named inputs of fixed dtypes, one of several outputs."""

import dataclasses
import os
from typing import Any

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill._core.tensors import same_shape
from keras_distill.teachers.foreign import ForeignTeacher


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Attributes:
        shape: Shape with the batch, `None` for sizes that are free; `None` as a whole if the rank is free.
        dtype: Name of its dtype.
        raw_dtype: Name of another dtype that it takes unchanged: the integers of a quantized input. Defaults to `None`.
    """

    shape: tuple | None
    dtype: str
    raw_dtype: str | None = None


class FileTeacher(ForeignTeacher):
    """Wrap a model file. Subclasses override `_open` and `_run`.

    Args:
        path: File or folder. It is not copied: a saved teacher keeps the path as given.
        outputs: What it returns, `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to `"logits"`.
        signature_output: Name of the output to learn from, if there are several. Defaults to `None`, the only one.
        **kwargs: As in `ForeignTeacher`: `input_shape`, `input_dtype` and `classes`, if the file leaves them open,
            `batch_size`, `name`, `dtype`. A file with a fixed batch size runs on that many samples at once; the last
            portion is padded.
    """

    def __init__(self, path: str, outputs: str = "logits", signature_output: Any = None, **kwargs: Any):
        path = os.fspath(path)
        if not os.path.exists(path):
            raise FileNotFoundError(expected("the file or folder of a teacher", f"{path!r}, which does not exist"))
        super().__init__(outputs, **kwargs)
        self.file = path
        self.signature_output = signature_output
        self._ordered = False
        ports, answers = self._open(path)
        # Tuples, since Keras would wrap a dict in a container of its own.
        self._ports = tuple(ports.items())
        self._output_name, self._output_port = self._chosen(answers)
        self._last_operation = self._find_last_operation()
        fixed = {port.shape[0] for port in ports.values() if port.shape} - {None}
        self._fixed_batch = max(fixed, default=None)
        self._ready()
        self._settle(self._own_specs(), self._output_port.shape and self._output_port.shape[1:])

    @property
    def label(self) -> str:
        return f"the teacher {self.file!r}"

    def _open(self, path):
        """Load the file; return its inputs and its outputs, two dicts of `Port`s by name.

        Set `_ordered` if the order of the inputs is that in which a list of them is passed.
        """
        raise NotImplementedError

    def _find_last_operation(self):
        """Return the name of the operation behind the output, `None` if it is not known."""
        return None

    def _ready(self):
        """Prepare to run, now that the inputs are known."""

    def _run(self, tensors):
        """Return the output for a dict of tensors by name."""
        raise NotImplementedError

    def _raw_outputs(self, inputs):
        named = self._by_name(inputs)
        return self._run({name: self._fitted(name, tensor, port) for (name, port), tensor in zip(self._ports, named)})

    def _chosen(self, answers):
        names = [self.signature_output] if self.signature_output is not None else list(answers)
        if len(names) != 1:
            fix = "Pass signature_output, the name of the output with the classes."
            raise ValueError(expected(f"one output of {self.label}", f"{', '.join(sorted(names)) or 'no output'}", fix))
        if names[0] not in answers:
            raise ValueError(unknown_name("signature_output", names[0], answers))
        port = answers[names[0]]
        if "float" not in port.dtype:
            received = f"{names[0]!r} of dtype {port.dtype}"
            raise ValueError(
                expected(f"a floating-point output of {self.label}", received, "Labels are no soft targets.")
            )
        return names[0], port

    def _own_specs(self):
        if any(port.shape is None for _, port in self._ports):
            return None
        specs = {name: keras.KerasTensor((None, *port.shape[1:]), port.dtype) for name, port in self._ports}
        return specs if len(specs) > 1 else next(iter(specs.values()), None)

    def _by_name(self, inputs):
        """Return one tensor for each input of the file."""
        names = [name for name, _ in self._ports]
        if isinstance(inputs, dict) and all(name in inputs for name in names):
            return [inputs[name] for name in names]
        leaves = keras.tree.flatten(inputs)
        if len(leaves) == len(names) and (len(names) == 1 or (self._ordered and not isinstance(inputs, dict))):
            return leaves
        received = f"{', '.join(sorted(inputs))}" if isinstance(inputs, dict) else f"{len(leaves)} without names"
        raise ValueError(expected(f"a dict of {', '.join(sorted(names))} for {self.label}", received))

    def _fitted(self, name, tensor, port):
        """Return a tensor in the dtype of an input; refuse other shapes, and casts that lose information."""
        what = f"input {name!r} of {self.label}"
        if port.shape is not None and not same_shape(tuple(tensor.shape[1:]), tuple(port.shape[1:])):
            fix = "Prepare its inputs in a model around it: keras.Model(inputs, teacher(prepare(inputs)))."
            sizes = f"{(None, *port.shape[1:])}"
            raise ValueError(expected(f"shape {sizes} for the {what}", f"{(None, *tensor.shape[1:])}", fix))
        given = keras.backend.standardize_dtype(tensor.dtype)
        if given in (port.dtype, port.raw_dtype):
            return tensor
        if "string" in (given, port.dtype) or ("float" in given and "float" not in port.dtype):
            raise ValueError(expected(f"{port.dtype} for the {what}", given, "Cast it to what the file takes."))
        return keras.ops.cast(tensor, port.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "path": self.file, "signature_output": self.signature_output}
