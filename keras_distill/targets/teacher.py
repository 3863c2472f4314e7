"""A store in the place of a teacher: it runs nothing, its answers come with the batches."""

from typing import Any

import keras

from keras_distill._core import deprecation, guards
from keras_distill._core.batches import SOFT_TARGETS
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked
from keras_distill.answers.answer import Logits, TemperedLogits
from keras_distill.answers.top_k import TopK, only_at
from keras_distill.targets.store.manifest import MANIFEST
from keras_distill.targets.store.reader import TargetStore
from keras_distill.targets.store.reader import open as open_store
from keras_distill.teachers.base import Teacher
from keras_distill.teachers.kinds import folder_with, kind

_FIX = "Train on `store.join(dataset)`: its batches carry what the teacher said of each example."


@keras.saving.register_keras_serializable(package="keras_distill")
class StoredTeacher(Teacher):
    """Let a store teach. A `Distiller` makes one of a `TargetStore` or of its path.

    It has no weights and cannot be run. What it says of a batch is in the batch, put there by `store.join`; `answer`
    takes it out.

    Args:
        store: A `keras_distill.targets.TargetStore`, or its path.
        fingerprint: Fingerprint that the store must have. Defaults to `None`, any.
        name: Name of the model. Defaults to `"stored_teacher"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If the store is not what it was.
    """

    @checked()
    def __init__(self, store: Any, fingerprint: Any = None, name: str = "stored_teacher", **kwargs: Any):
        if not isinstance(store, TargetStore):
            store = open_store(store)
        if fingerprint is not None and store.fingerprint != fingerprint:
            received = f"{store.fingerprint} in {store.path}"
            raise ValueError(expected(f"the store of soft targets {fingerprint}", received))
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self._store = Untracked(store)
        self.built = True

    @property
    def store(self) -> Any:
        """The `TargetStore`."""
        return self._store.content

    @property
    def classes(self) -> Any:
        """Number of classes."""
        return self.store.encoding.classes

    @property
    def features(self) -> Any:
        """The layers that are stored, a dict of name to shape with `None` for the batch."""
        return {name: (None, *shape) for name, shape in self.store.feature_shapes.items()}

    @property
    def inputs(self) -> Any:
        """The inputs of the teacher that was asked, as symbolic tensors."""
        return [keras.KerasTensor((None, *each.shape), each.dtype) for each in self.store.inputs]

    @property
    def outputs(self) -> Any:
        """The logits that the store stands for as a symbolic tensor, in a list."""
        encoding = self.store.encoding
        return [keras.KerasTensor((None, *encoding.shape, encoding.classes), "float32")]

    def answer(self, inputs: Any = None, extras: Any = None) -> Any:
        """Return what the teacher answered about a batch.

        Args:
            inputs: A batch of inputs; not looked at. Defaults to `None`.
            extras: Dict of what the batch carries beside inputs, labels and weights.

        Returns:
            An `Answer`: logits `[batch, ..., classes]` in float32, or a `TopK`.

        Raises:
            ValueError: If the batch carries no soft targets, or those of another kind of store.
        """
        if extras is None and isinstance(inputs, dict) and SOFT_TARGETS in inputs:
            deprecation.warn("StoredTeacher.answer(extras)", "StoredTeacher.answer(extras=extras)")
            return {"final_output": self.answer(extras=inputs).at(1.0), **self.layers_of(inputs)}
        fields = self._fields(extras)
        answer = self.store.encoding.decode(fields)
        if isinstance(answer, TopK):
            return answer
        if self.store.asked_at is None:
            return Logits(answer)
        return TemperedLogits(answer, lambda temperature: only_at((self.store.asked_at,), temperature, answer))

    def layers_of(self, extras: Any) -> Any:
        """Return the stored layers of a batch, a dict of float32 tensors by name.

        Args:
            extras: Dict of what the batch carries beside inputs, labels and weights.
        """
        fields, found = self._fields(extras), {}
        for name, shape in self.features.items():
            feature = keras.ops.cast(fields[self.store.feature_field(name)], "float32")
            if hasattr(feature, "set_shape"):  # A `tf.data` pipeline may have lost it.
                feature.set_shape((feature.shape[0], *shape[1:]))
            found[name] = feature
        return found

    def _fields(self, extras):
        fields = (extras or {}).get(SOFT_TARGETS)
        if not isinstance(fields, dict):
            received = f"a batch with {', '.join(sorted(extras))} beside it" if extras else "a batch without them"
            raise ValueError(expected(f"batches with the part {SOFT_TARGETS!r} for a stored teacher", received, _FIX))
        if any(name not in fields for name in self.store.fields):
            received = f"a batch with {', '.join(sorted(fields)) or 'none'}"
            raise ValueError(expected(f"soft targets with {', '.join(self.store.fields)}", received, _FIX))
        return fields

    def call(self, inputs: Any) -> Any:
        """Refuse: there is nothing to run."""
        return guards.marked(self._refuse)(inputs)

    def _refuse(self, inputs):
        raise ValueError(expected("soft targets in the batch", f"inputs alone for the store {self.store.path}", _FIX))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "store": str(self.store.path), "fingerprint": self.store.fingerprint}


@kind(lambda given: isinstance(given, TargetStore) or folder_with(MANIFEST)(given))
def _load_teacher(store, request):
    if request.outputs != "logits":
        fix = "The store knows what it holds: leave `outputs` out."
        raise ValueError(expected('outputs="logits" of a store of soft targets', f"outputs={request.outputs!r}", fix))
    return StoredTeacher(store, **({} if request.name is None else {"name": request.name}))
