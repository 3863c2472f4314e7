"""Taking features from a model in its one forward pass, by the names of its layers."""

import keras

from keras_distill._messages import expected

FINAL_OUTPUT = "final_output"


def feature_extractor(model, layer_names):
    """Build a model that returns the outputs of some layers beside the final output.

    It shares every layer with `model`: calling it is one forward pass of the model.

    Args:
        model: A built Functional or Sequential `keras.Model`.
        layer_names: Names of its layers; none for no extractor.

    Returns:
        A `keras.Model` from the inputs of `model` to a dict of `"final_output"` and each layer's name, or `None`.

    Raises:
        ValueError: If features are asked of a model without symbolic inputs.

    Example:

    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)]
    >>> extractor = feature_extractor(keras.Sequential(layers), ["hidden"])
    >>> {name: output.shape for name, output in extractor.output.items()}
    {'final_output': (None, 2), 'hidden': (None, 3)}
    """
    layer_names = sorted({name for name in layer_names if name})
    if not layer_names:
        return None
    if getattr(model, "inputs", None) is None:
        raise ValueError(
            expected(f"a built Functional or Sequential model to take {layer_names} from", f"{model.name!r}")
        )
    if FINAL_OUTPUT in layer_names:
        raise ValueError(expected("a layer of another name: it is what the final output is called", FINAL_OUTPUT))
    # The very structures that the model takes and gives: a single tensor is no list of one.
    inputs, final = (
        (model.inputs[0], model.outputs[0]) if isinstance(model, keras.Sequential) else (model.input, model.output)
    )
    outputs = {FINAL_OUTPUT: final, **{name: model.get_layer(name).output for name in layer_names}}
    return keras.Model(inputs, outputs, name=f"{model.name}_features")
