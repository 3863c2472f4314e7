"""What TensorFlow runs on."""


def is_accelerated():
    """Tell whether there is a device beside the processor: one for which Keras compiles by XLA of its own accord."""
    import tensorflow as tf

    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
