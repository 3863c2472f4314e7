"""A loss and a matching random batch for each registered method."""

import dataclasses

import keras
import numpy as np
from keras import ops

import keras_distill as kd
from tests import gradients
from tests.gradients import as_arrays, masked
from tests.losses.loss_table import pair

METHODS = kd.losses.METHODS
LOGITS = [name for name, method in METHODS.items() if method.family == "logits"]
SAMPLES = 20
"""Size of the data set that the batches are drawn from."""
_SHAPES = {"logits": (6, 5), "embeddings": (8, 6), "feature maps": (4, 6, 6, 8), "contrastive": (8, 6)}


@dataclasses.dataclass
class Batch:
    """A loss, the outputs that it compares, and its other inputs."""

    loss: object
    teacher: object
    student: object
    given: dict

    def compute(self, teacher, student, sample_weight=None, mask=None):
        """Return the value of the loss, with its adapter if it has one."""
        student = keras.tree.map_structure(lambda each: masked(each, mask), student)
        student = self.loss.adapt(student, self.given.get("adapter"), False)
        return self.loss.compute_loss(teacher, student, sample_weight=sample_weight, **self.given)

    def value_and_gradient(self, teacher=None, student=None, **arguments):
        """Return the value and the gradients with respect to the student's outputs as NumPy arrays."""
        return as_arrays(self._differentiated(**arguments)(*self._tensors(teacher, student)))

    def compiled(self):
        """Return the results of `value_and_gradient` from a graph, and from the same graph compiled by XLA.

        JAX has only XLA.
        """
        compute, outputs = self._differentiated(), self._tensors()
        if gradients.JAX:
            return [as_arrays(gradients.compiled(compute)(*outputs))]
        import tensorflow as tf

        graph = tf.function(compute)
        by_xla = gradients.compiled(lambda *outputs: graph(*outputs))
        return [as_arrays(run(*outputs)) for run in (graph, by_xla)]

    def _tensors(self, teacher=None, student=None):
        return [
            keras.tree.map_structure(ops.convert_to_tensor, own if given is None else given)
            for own, given in ((self.teacher, teacher), (self.student, student))
        ]

    def _differentiated(self, **arguments):
        def compute(teacher, student):
            value, slopes = gradients.value_and_gradient(
                lambda student: self.compute(teacher, student, **arguments), student
            )
            return value, keras.tree.flatten(slopes)

        return compute


def make(name, shape=None, dtype="float32", seed=0, **arguments):
    """Create the loss of a method and a random batch for it.

    Args:
        name: Name of the method, a key of `METHODS`.
        shape: Shape of the outputs of teacher and student. Methods of several layers get two of them. Defaults to
            `None`, a small shape.
        dtype: Precision of both outputs. Defaults to `"float32"`.
        seed: Seed of the random numbers. Defaults to 0.
        **arguments: Arguments of the loss.

    Returns:
        A `Batch`.
    """
    method = METHODS[name]
    shape = shape or _SHAPES[method.family]
    if name == "crd":
        arguments = {"dataset_size": SAMPLES, "embedding_width": 4, **arguments}
    elif name == "mlkd":  # Two temperatures suffice: the published vectors have all five.
        arguments = {"temperatures": [2.0, 6.0], **arguments}
    elif name == "ofd":
        arguments = {"margin": [[-0.5] * shape[-1]] * 2, **arguments}
    loss = method.make(**arguments)
    stages = 2 if getattr(loss, "staged", False) else 1
    pairs = [pair(*shape, seed=seed + stage, dtype=dtype) for stage in range(stages)]
    teacher, student = ([each[side] for each in pairs] if stages > 1 else pairs[0][side] for side in (0, 1))
    return Batch(loss, teacher, student, _given(method, loss, teacher, student, seed))


def _given(method, loss, teacher, student, seed):
    generator, first, given = np.random.default_rng(seed), keras.tree.flatten(student)[0], {}
    if "labels" in method.needs:
        given["labels"] = generator.integers(0, first.shape[-1], first.shape[:-1])
    if "index" in method.needs:
        index = generator.permutation(loss.dataset_size)[: len(first)].astype("int32")
        others = np.arange(1 + min(1024, loss.dataset_size // 4), dtype="int32")
        given |= {"index": index, "contrast_index": (index[:, None] + others) % loss.dataset_size}
        given["training"] = False
    adapter = loss.make_adapter(_shapes(teacher), _shapes(student))
    if adapter is not None:
        if not adapter.built:
            adapter.build(_shapes(student))
        given["adapter"] = adapter
    return given


def _shapes(outputs):
    return [_shapes(each) for each in outputs] if isinstance(outputs, list) else (None, *outputs.shape[1:])
