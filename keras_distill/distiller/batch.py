"""The batch that a step works on, and what is known about it so far."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

from keras_distill._core import deprecation
from keras_distill._core.batches import unpack
from keras_distill._core.models import accepts


@dataclasses.dataclass(eq=False)
class Batch:
    """A batch, and what teacher and student have returned for it.

    Attributes:
        x: Inputs.
        y: Hard labels, or `None`.
        sample_weight: Weights of the samples, or `None`.
        extras: Dict of what else the data carry.
        teacher_outputs: What `Distiller.teacher_outputs` returned. Defaults to `None`, not asked.
        student_outputs: What `Distiller.student_outputs` returned. Defaults to `None`, not run.
    """

    x: Any
    y: Any
    sample_weight: Any
    extras: dict
    teacher_outputs: dict | None = None
    student_outputs: dict | None = None

    @classmethod
    def of(cls, data: Any) -> "Batch":
        """Return the batch that Keras hands to a step."""
        return cls(*unpack(data))

    def known(self) -> dict[str, Any]:
        """Return what is known beyond Keras's arguments, by name."""
        return {name: getattr(self, name) for name in _OUTPUTS}


_OUTPUTS = ("teacher_outputs", "student_outputs", "extras")


def takes_outputs(compute_loss: Callable) -> bool:
    """Return whether an override of `compute_loss` has the arguments that version 0.1 passed beyond Keras's; warn."""
    found = [name for name in _OUTPUTS if accepts(compute_loss, name)]
    if len(found) < len(_OUTPUTS):
        return False
    old = f"compute_loss(..., {found[0]}=...)"
    deprecation.warn(f"{old}` in an override of `Distiller.compute_loss", f"self.current_batch.{found[0]}", 3)
    return True


_NOTHING = Batch(None, None, None, {})


class CurrentBatch(threading.local):
    """The batch of the step that this thread runs: each replica of a `tf.distribute` strategy has a thread of its own.

    An override of `Distiller.compute_loss` has Keras's arguments. What the step knows beyond them is found here, by the
    identity of the inputs, so that calling the method with other inputs never gets the answers for these.
    """

    def __init__(self):
        self.batch = _NOTHING

    @contextlib.contextmanager
    def set_to(self, batch: Batch) -> Iterator[Batch]:
        """Make a batch the current one while the context lasts."""
        before, self.batch = self.batch, batch
        try:
            yield batch
        finally:
            self.batch = before

    def known_about(self, x: Any) -> Batch:
        """Return what is known about inputs: the current batch if they are its inputs, else an empty one."""
        return self.batch if x is not None and x is self.batch.x else _NOTHING
