"""What a head decides: one class of several, or yes or no for each output. All metrics of this room ask here."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill._core.tensors import is_eager
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.hard_labels import HardLabelLoss
from keras_distill.losses.heads import head_of
from keras_distill.losses.logits.top_k import is_top_k

CLASSES, LABELS = "classes", "labels"

HEADS = (CLASSES, LABELS)
"""`"classes"`: a row of outputs is one distribution, as under a softmax, and its largest output is the prediction.
`"labels"`: each output is a yes or no of its own, as under a sigmoid; yes above a probability of 0.5, a logit of 0."""


def check_head(head: Any) -> str | None:
    """Return a kind of head, or `None` for one to be found; raise a `ValueError` for anything else."""
    return None if head is None else check_choice("head", head, HEADS)


def find_head(*outputs: Any, head: str | None = None) -> str:
    """Return what the heads of outputs that belong together decide.

    Args:
        *outputs: Tensors `[..., width]` of one width, straight from their models, or a `keras_distill.targets.TopK`.
        head: The kind of head if it is known. Defaults to `None`.

    Returns:
        `head` if it is known. Otherwise `"labels"` for a single output or under a sigmoid, and `"classes"` for all
        others. A linear head of several outputs looks the same either way, and counts as one of classes.

    Example:

    >>> import keras
    >>> logits = keras.ops.convert_to_tensor([[2.0, 1.0, -1.0]])
    >>> find_head(logits), find_head(logits[:, :1]), find_head(logits, keras.activations.sigmoid(logits))
    ('classes', 'labels', 'labels')
    """
    if head is not None:
        return head
    dense = [ops.convert_to_tensor(each) for each in outputs if not is_top_k(each)]
    if len(dense) < len(outputs):
        return CLASSES
    single = any(each.shape[-1] == 1 for each in dense)
    return LABELS if single or any(head_of(each)[0] == "sigmoid" for each in dense) else CLASSES


def head_of_loss(loss: Any) -> str | None:
    """Return what the head decides that a hard-label loss trains, or `None` if the loss does not tell."""
    name = name_of_loss(loss)
    if "binary" in name:
        return LABELS
    return CLASSES if "categorical" in name else None


def name_of_loss(loss: Any) -> str:
    """Return the name of a hard-label loss in lower case: its own, or that of its function or class."""
    loss = loss.loss if isinstance(loss, HardLabelLoss) else loss
    return (loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)).lower()


def heads_by_output(loss: Any, outputs: Any) -> list[str | None]:
    """Return what each output of a model decides, as far as its hard-label losses tell.

    Args:
        loss: The loss given to `compile`: one for all outputs, or a nest.
        outputs: A tensor or a nest of them.
    """
    count = len(keras.tree.flatten(outputs))
    if isinstance(loss, dict) and isinstance(outputs, dict):
        losses = keras.tree.flatten({name: loss.get(name) for name in outputs})
    else:
        losses = keras.tree.flatten(loss) * (1 if keras.tree.is_nested(loss) else count)
    return [head_of_loss(each) for each in losses] if len(losses) == count else [None] * count


def decisions(outputs: Any) -> Tensor:
    """Return, as a bool tensor `[..., labels]`, where a head of labels says yes.

    Args:
        outputs: Float tensor `[..., labels]`: logits if the model shows that they are, or probabilities. Where neither
            a sigmoid nor a linear head is found, as in an array, outputs that all lie from 0 to 1 are probabilities.
    """
    outputs = ops.convert_to_tensor(outputs)
    kind, logits = head_of(outputs)
    if kind == "sigmoid" or kind == "linear" and not is_eager(outputs):
        return logits > 0
    within = ops.all(ops.logical_and(outputs >= 0, outputs <= 1))
    return ops.where(within, outputs > 0.5, outputs > 0)


def two_way_logits(outputs: Tensor, from_logits: bool, smallest: float) -> Tensor:
    """Return the logits `[..., labels, 2]` of no and yes under a head of labels.

    Args:
        outputs: Float tensor `[..., labels]`: logits, or the output of a sigmoid whose logits can be found; or
            probabilities.
        from_logits: Whether outputs are logits rather than probabilities.
        smallest: What a probability of 0 counts as.
    """
    _, logits = head_of(outputs) if from_logits else ("", outputs)
    yes = ops.cast(logits, working_dtype(logits))
    if from_logits:
        return ops.stack([ops.zeros_like(yes), yes], axis=-1)
    both = ops.stack([1.0 - yes, yes], axis=-1)
    return ops.log(ops.where(both < smallest, smallest, both))


def label_indices(labels: Any, outputs: Tensor) -> Tensor:
    """Return 0 for no, 1 for yes and -1 for no label, int32 of the shape of the outputs of a head of labels.

    Args:
        labels: Numbers `[..., labels]` from 0 to 1, rounded, or below zero for no label. For a head of one output,
            `[...]` too.
        outputs: Tensor `[..., labels]`.

    Raises:
        ValueError: If there is not one label for each output.
    """
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == len(outputs.shape) - 1 and outputs.shape[-1] == 1:
        labels = ops.expand_dims(labels, -1)
    if len(labels.shape) != len(outputs.shape) or labels.shape[-1] != outputs.shape[-1]:
        received = f"labels of shape {tuple(labels.shape)} for outputs of shape {tuple(outputs.shape)}"
        fix = "For a softmax or another head of classes, pass `head='classes'`."
        raise ValueError(expected("a label of 0 or 1 for each output of a head of labels", received, fix))
    if not keras.backend.is_float_dtype(labels.dtype):
        return ops.cast(labels, "int32")
    return ops.where(labels < 0, -1, ops.cast(labels > 0.5, "int32"))
