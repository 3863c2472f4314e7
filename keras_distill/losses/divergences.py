"""Divergences between a teacher's and a student's distribution: arrays in, one value per sample out.

Each function takes logits of shape `[..., classes]`, works in float32 (in float64 where the logits are), treats
the teacher as a constant, and sums over the classes. None of them multiplies by T²: the classes on top do.
"""

from keras import ops
from keras.backend import standardize_dtype

# Below this |log(q/p)| the series is the more exact form of exp(d) - 1 - d, above it the difference is.
_SERIES_LIMIT = {"float32": 0.3, "float64": 0.03}
_FLOOR = -1e30


def kl_divergence(teacher_logits, student_logits, temperature=1.0):
    """Compute `KL(p, q)` between the tempered teacher `p` and the tempered student `q`.

    Summed as `p (exp(d) - 1 - d)` with `d = log(q / p)`: every summand is positive, so nothing cancels, and the
    divergence stays exact where the two distributions are nearly equal (a high temperature) and where they are
    as far apart as float32 can say (a logit gap of thousands).

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats, never negative.

    Example:

    >>> import numpy as np
    >>> z = np.array([[1.0, 2.0, 3.0]], "float32")
    >>> float(kl_divergence(z, z + 5.0)[0])
    0.0

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    teacher, student, temperature = _tempered(teacher_logits, student_logits, temperature)
    teacher_norm = ops.logsumexp(teacher / temperature, axis=-1, keepdims=True)
    student_norm = ops.logsumexp(student / temperature, axis=-1, keepdims=True)
    p = ops.exp(teacher / temperature - teacher_norm)
    q = ops.exp(student / temperature - student_norm)
    # Not log q - log p: both carry the rounding of log(classes), which at a high temperature dwarfs their difference.
    log_ratio = (student - teacher) / temperature - (student_norm - teacher_norm)
    return ops.sum(_expected_excess(p, q, log_ratio), axis=-1)


def soft_cross_entropy(teacher_logits, student_logits, temperature=1.0):
    """Compute the cross-entropy `-sum_i p_i log q_i` of the tempered student under the tempered teacher.

    It differs from `kl_divergence` by the teacher's entropy, a constant: the gradients are the same,
    `(1/T) (softmax(z/T)_i - softmax(v/T)_i)` with respect to the student logit `z_i`.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive number, array or variable that divides both. Defaults to 1.0.

    Returns:
        Float array `[...]`, nats.

    Example:

    >>> import numpy as np
    >>> z = np.zeros((1, 8), "float32")
    >>> round(float(soft_cross_entropy(z, z)[0]), 4)  # log 8
    2.0794

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    divergence = kl_divergence(teacher_logits, student_logits, temperature)
    teacher, _, temperature = _tempered(teacher_logits, student_logits, temperature)
    # Not -sum(p log_softmax): where p and q are on one class, all that is left of it in float32 is rounding.
    return divergence + _entropy(teacher / temperature)


def logit_matching(teacher_logits, student_logits):
    """Compute half the mean squared difference of the centred logits: the limit of `T² KL` as T grows.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.

    Returns:
        Float array `[...]`.

    Example:

    >>> import numpy as np
    >>> v, z = np.array([[2.0, 0.0, 1.0]], "float32"), np.array([[0.0, 1.0, 2.0]], "float32")
    >>> limit, value = logit_matching(v, z), 1e6 * kl_divergence(v, z, temperature=1e3)
    >>> round(float(limit[0]), 2), round(float(value[0]), 2)
    (1.0, 1.0)

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 2.1.
    """
    teacher, student, _ = _tempered(teacher_logits, student_logits, 1.0)
    difference = student - teacher
    difference = difference - ops.mean(difference, axis=-1, keepdims=True)
    return 0.5 * ops.mean(ops.square(difference), axis=-1)


def working_dtype(*tensors):
    """Return `"float64"` where one of the tensors is in it, `"float32"` otherwise."""
    return "float64" if "float64" in [standardize_dtype(tensor.dtype) for tensor in tensors] else "float32"


def _tempered(teacher_logits, student_logits, temperature):
    """Bring all three to one precision, and each row's largest logit to 0, which changes no softmax."""
    teacher, student = ops.convert_to_tensor(teacher_logits), ops.convert_to_tensor(student_logits)
    dtype = working_dtype(teacher, student)
    teacher = ops.stop_gradient(ops.cast(teacher, dtype))
    student = ops.cast(student, dtype)
    teacher = teacher - ops.max(teacher, axis=-1, keepdims=True)
    student = student - ops.stop_gradient(ops.max(student, axis=-1, keepdims=True))
    # A class ruled out by a logit of -inf has no probability at the floor either, and no NaN.
    return ops.maximum(teacher, _FLOOR), ops.maximum(student, _FLOOR), ops.cast(temperature, dtype)


def _entropy(logits):
    """Return the entropy of rows of logits whose largest is 0, exact where nearly all of it is on that one class."""
    largest = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1], dtype="bool")
    others = ops.sum(ops.where(largest, ops.zeros_like(logits), ops.exp(logits)), axis=-1)
    return ops.log1p(others) - ops.sum(ops.softmax(logits, axis=-1) * logits, axis=-1)


def _expected_excess(p, q, d):
    """Return `p (exp(d) - 1 - d)`, where `q = p exp(d)`, without cancellation for small `d` nor overflow for large."""
    small = ops.abs(d) < _SERIES_LIMIT[standardize_dtype(d.dtype)]
    # The branch not taken must stay finite as well: its gradient is multiplied by zero, not skipped.
    e = ops.where(small, d, ops.zeros_like(d))
    series = e * e / 2 * (1 + e / 3 * (1 + e / 4 * (1 + e / 5 * (1 + e / 6 * (1 + e / 7)))))
    # From p and d as long as it can be: p and q are rounded each for itself, and their difference shows it.
    bounded = ops.minimum(d, 1.0)
    plain = ops.where(d < 1.0, p * (ops.expm1(bounded) - bounded), q - p - p * d)
    return ops.where(small, p * series, plain)
