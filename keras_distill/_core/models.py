"""Small questions to Keras models, and a box to keep one in."""

import inspect

from keras_distill._core.tensors import remembering_logits


class Untracked:
    """A box that Keras does not look into: nothing in it is in a list of weights, trained or saved."""

    def __init__(self, content):
        self.content = content


def accepts(function, argument):
    """Tell whether a function can be given an argument by that name."""
    parameters = inspect.signature(function).parameters
    return argument in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def run(model, inputs, training):
    """Call a model, and let its softmax and sigmoid layers remember the logits that they were given."""
    with remembering_logits(model):
        return model(inputs, training=training)


def uses_float16(layer):
    """Tell whether a layer, or one inside it, computes in mixed float16 and so needs its loss scaled."""
    return layer.dtype_policy.name == "mixed_float16" or any(map(uses_float16, getattr(layer, "layers", ())))
