"""NumPy references for the tests of losses of feature maps, and a check of gradients by finite differences."""

import numpy as np
from loss_table import value_and_gradient


def unit(x, axis):
    """Scale to unit length. Zero stays zero."""
    return x / np.maximum(np.sqrt(np.sum(x**2, axis=axis, keepdims=True)), 1e-12)


def pool(x, height, width, reduce=np.mean):
    """Pool adaptively, cell by cell."""
    tall, wide = x.shape[1:3]
    cells = np.zeros((x.shape[0], height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            rows = slice(i * tall // height, -(-(i + 1) * tall // height))
            columns = slice(j * wide // width, -(-(j + 1) * wide // width))
            cells[:, i, j] = reduce(x[:, rows, columns], axis=(1, 2))
    return cells


def pool_to_match(*maps):
    """Pool all to the smallest height and width among them."""
    size = [min(each.shape[axis] for each in maps) for axis in (1, 2)]
    return [pool(each, *size) for each in maps]


def random_maps(*shapes, seed=0, dtype="float64"):
    """Return random feature maps of the given shapes, exact in float32."""
    generator = np.random.default_rng(seed)
    return [(np.round(generator.normal(size=shape) * 64) / 64).astype(dtype) for shape in shapes]


def check(loss, oracle, teacher, student):
    """Compare a loss with its oracle: the value in both precisions, and its slope in a random direction."""
    value, gradient = value_and_gradient(loss, teacher, student)
    np.testing.assert_allclose(value, oracle(teacher, student), rtol=1e-9, atol=1e-12)
    direction, step = np.random.default_rng(1).normal(size=student.shape), 1e-5
    slope = (oracle(teacher, student + step * direction) - oracle(teacher, student - step * direction)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-5, atol=1e-9)
    single = value_and_gradient(loss, teacher.astype("float32"), student.astype("float32"))
    np.testing.assert_allclose(single[0], value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single[1], gradient, rtol=1e-4, atol=1e-6)
