"""What a teacher says of a batch: one tensor of logits, which knows itself at every temperature."""

from keras_distill._core.tensors import set_temperatures, temperatures_of


def with_temperatures(logits, at_temperature):
    """Let logits say what they are at other temperatures than 1.

    Where several models speak as one, or classes are merged, the soft targets at a temperature T are not
    `softmax(logits / T)` of any one array of logits. The output of such a teacher is an ordinary tensor, its logits
    at T = 1; what it carries beside is asked by `at_temperature`, as Keras carries masks.

    Args:
        logits: Float tensor `[batch, ..., classes]`, those at T = 1.
        at_temperature: Function from a temperature T to logits `v` such that `softmax(v / T)` are the soft targets.

    Returns:
        The same tensor.
    """
    set_temperatures(logits, at_temperature)
    return logits


def at_temperature(outputs, temperature):
    """Return the logits of which `softmax(logits / T)` are a teacher's soft targets.

    Args:
        outputs: Float tensor `[batch, ..., classes]`, what the teacher returned.
        temperature: Positive number or scalar tensor T.

    Returns:
        Float tensor of the shape of `outputs`; `outputs` itself for a teacher that is one model.

    Example:

    >>> import numpy as np
    >>> from keras import ops
    >>> doubled = with_temperatures(ops.ones((1, 3)), lambda temperature: temperature * ops.ones((1, 3)))
    >>> at_temperature(doubled, 4.0).numpy().tolist(), at_temperature(np.ones((1, 3)), 4.0).tolist()
    ([[4.0, 4.0, 4.0]], [[1.0, 1.0, 1.0]])
    """
    function = temperatures_of(outputs)
    return outputs if function is None else function(temperature)
