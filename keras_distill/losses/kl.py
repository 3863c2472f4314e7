"""The Kullback-Leibler divergence of rows of logits and its slopes, formed together: exact, and in few passes."""

from keras import ops
from keras.backend import standardize_dtype

from keras_distill.losses.by_rows import by_rows

# Below this |log(q / p) / 2| the fraction in `_excess` is the more exact form, above it the difference is.
_FRACTION_LIMIT = {"float32": 0.25, "float64": 0.01}
_FLOOR = -1e30


@ops.custom_gradient
def divergence(teacher, student, temperature):
    """Return `KL(p, q)` of rows of logits at temperatures `[..., 1]`; the teacher's are constant."""
    values, gap, of_temperature = by_rows(divergence_and_slopes, teacher, student, temperature)

    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        slope = ops.expand_dims(upstream, -1) / temperature
        return ops.zeros_like(teacher), slope * gap, slope / temperature * of_temperature

    return values[..., 0], gradient


def divergence_and_slopes(teacher, student, temperature):
    """Return `KL(p, q)` as `[..., 1]`, its slopes in the tempered student, and `T²` times that in `T`."""
    teacher, student = from_largest(teacher), from_largest(student)
    p, teacher_sum = _softmax(teacher / temperature)
    q, student_sum = _softmax(student / temperature)
    half = (student - teacher) * (0.5 / temperature) - 0.5 * ops.log(student_sum / teacher_sum)
    tanh = ops.tanh(half)
    both = p + q
    values = ops.sum(both * _excess(half, tanh), axis=-1, keepdims=True)
    gap = both * tanh
    # Adds up to 0; where one class has nearly all, this is what it is known by.
    gap = gap - q * ops.sum(gap, axis=-1, keepdims=True)
    of_temperature = ops.sum(p * (2.0 * half + values) * teacher - gap * student, axis=-1, keepdims=True)
    return values, gap, of_temperature


def _softmax(logits):
    """Return the softmax of rows of logits whose largest is 0, and the sums `[..., 1]` it was divided by."""
    exponentials = ops.exp(logits)
    total = ops.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / total, total


def _excess(half, tanh):
    """Return `p (exp(d) - 1 - d) / (p + q)` for `half = d / 2` and its hyperbolic tangent."""
    square = half * half
    small = square < _FRACTION_LIMIT[standardize_dtype(half.dtype)] ** 2
    # There `half - tanh` cancels; it is `half³ / (3 + 6 half² / 5)`, up to the seventh power.
    return ops.where(small, half * (tanh - square / (3.0 + 1.2 * square)), tanh - half * (1.0 - tanh))


def from_largest(logits):
    """Return rows of logits whose largest is 0."""
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    # A class ruled out by a logit of -inf has no probability at the floor either, and no NaN.
    return ops.maximum(logits, _FLOOR)
