"""Measure what a teacher costs: processor time, multiply-adds, an ensemble's forward pass relative to its members'."""

import statistics
import time

import numpy as np

import keras_distill as kd


def forward_cost(rounds=151, batch_size=256):
    """Time five teachers of the recipe `mnist` one by one, all in one function, and as an `Ensemble`, in turn.

    Returns:
        Dict of the median milliseconds of processor of each, and of the ensemble's ratio to both of the others.
    """
    import tensorflow as tf

    members = [kd.recipes.load("mnist").teacher() for _ in range(5)]
    ensemble = kd.teachers.Ensemble(members)
    x = tf.constant(np.random.default_rng(0).random((batch_size, 28, 28, 1), "float32"))
    each = [tf.function(lambda x, member=member: member(x, training=False)) for member in members]
    together = tf.function(lambda x: [member(x, training=False) for member in members])
    as_one = tf.function(lambda x: ensemble(x, training=False))
    runs = {
        "members": lambda: [function(x) for function in each][-1].numpy(),
        "members_in_one_function": lambda: together(x)[-1].numpy(),
        "ensemble": lambda: as_one(x).numpy(),
    }
    times = {name: [] for name in runs}
    for turn in range(rounds + 3):
        for name in list(runs)[:: (-1) ** turn]:  # None has the better place.
            times[name].append(1_000 * timed(runs[name])[1])
    medians = {name: statistics.median(values[3:]) for name, values in times.items()}  # The first of them trace.
    ratios = {f"ratio_to_{name}": medians["ensemble"] / medians[name] for name in list(runs)[:2]}
    return {"rounds": rounds, "batch_size": batch_size, "milliseconds": medians, **ratios}


def timed(function, *arguments):
    """Return what a function returns, and the seconds of processor that it took, whatever else the machine does."""
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def one_thread():
    """Keep to one thread: nets this small gain nothing by more, and seconds of processor then mean something."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def multiply_adds(model):
    """Count the multiplications of one image's way through a net, or through all members of an ensemble."""
    if isinstance(model, kd.teachers.Ensemble):
        return sum(map(multiply_adds, model.members))
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sum(int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1])) for layer in layers)
