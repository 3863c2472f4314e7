"""Strategies of `tf.distribute` by name."""

from keras_distill._core.messages import expected, unknown_name
from keras_distill.distribution.cluster import Cluster
from keras_distill.distribution.rendezvous import wait_for_all

NAMES = ("none", "mirrored", "multiworker")
JOIN_SECONDS = 120.0


def strategy(name, devices=None, join_seconds=JOIN_SECONDS):
    """Make a strategy of `tf.distribute`, before anything else of TensorFlow is used.

    Teacher, student and distiller are built, and the distiller compiled, in its scope.

    Args:
        name: `"none"` for a single device, `"mirrored"` for several devices of this machine, or `"multiworker"` for
            the machines that `TF_CONFIG` names, each with all of its GPUs, or its CPU.
        devices: Number of devices of this machine for `"mirrored"`: of its GPUs, or where it has none, of logical
            devices that its CPU is split into (for trying out; nothing gets faster). Defaults to `None`, all GPUs.
        join_seconds: How long to wait for the other workers, in seconds. Defaults to 120.0.

    Returns:
        A `tf.distribute.Strategy`.

    Raises:
        ValueError: If the name is unknown, `TF_CONFIG` is malformed, or there are not as many devices.
        TimeoutError: If a worker has not joined in time.

    Example:

    >>> import keras
    >>> import keras_distill as kd
    >>> with kd.distribution.strategy("none").scope():
    ...     student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    Reference:
        Abadi et al., "TensorFlow: A system for large-scale machine learning", 2016, arXiv:1605.08695.
    """
    import tensorflow as tf

    if name not in NAMES:
        raise ValueError(unknown_name("strategy", name, NAMES))
    if devices is not None and name != "mirrored":
        raise ValueError(expected("`devices` for the strategy 'mirrored' alone", f"devices={devices!r} for {name!r}"))
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(None if devices is None else _devices(devices))
    cluster = Cluster.from_environment()
    _split_cpu(1)  # Where TensorFlow runs already, it says so before the others have been waited for.
    wait_for_all(cluster, join_seconds)
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy=None):
    """Tell whether this process is the one that writes checkpoints and results.

    Args:
        strategy: A `tf.distribute.Strategy`. Defaults to `None`, that of the current scope.

    Returns:
        A bool; `True` for every strategy of a single machine.

    Example:

    >>> is_chief()
    True
    """
    import tensorflow as tf

    resolver = (strategy or tf.distribute.get_strategy()).cluster_resolver
    if resolver is None or resolver.task_type is None or "chief" not in resolver.cluster_spec().jobs:
        return resolver is None or not resolver.task_id
    return resolver.task_type == "chief"


def is_multiworker(strategy):
    """Tell whether a strategy trains on several machines."""
    resolver = strategy.cluster_resolver
    return resolver is not None and sum(map(len, resolver.cluster_spec().as_dict().values())) > 1


def _devices(count):
    """Return the names of that many devices; a CPU is split."""
    import tensorflow as tf

    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(expected("`devices` to be a positive whole number", repr(count)))
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < count and gpus:
        raise ValueError(expected(f"at most {len(gpus)} devices, the GPUs of this machine", f"devices={count}"))
    if not gpus:
        _split_cpu(count)
    return [f"{'GPU' if gpus else 'CPU'}:{number}" for number in range(count)]


def _split_cpu(count):
    """Make logical devices of the CPU; raise a `RuntimeError` where TensorFlow runs already, and all is settled."""
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    try:
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    except RuntimeError as error:
        fix = "Make the strategy first, then models and data."
        raise RuntimeError(expected("a TensorFlow that has not made a tensor yet", "one that has", fix)) from error
