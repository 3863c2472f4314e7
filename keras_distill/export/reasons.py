"""Why a conversion failed, in one sentence that says what, why and what to do, where the tool prints its own terms."""

import re
from collections.abc import Callable

_NO_OPERATOR = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_NO_ONNX_OPERATOR = re.compile(r"No Op registered for (\w+) with domain_version")
_LEFT_OVER = re.compile(r"failed to legalize operation '(?:tf|tfl|tf_saved_model)\.(\w+)'")
_TYPES = re.compile(r"'tfl\.(\w+)' op operand #\d+ must be ([^,;]+?),? but got '([^']+)'")
_LAYER = re.compile(r'fused\["\w+:", "([^"@]+)@')

_LESSONS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        _NO_OPERATOR,
        lambda found: (
            f"TFLite has no operator for {found[1]}; write that part of the student with other layers, or export "
            "'saved_model' or 'onnx'"
        ),
    ),
    (
        _LEFT_OVER,
        lambda found: (
            f"TensorFlow's converter cannot express {found[1]} in TFLite; write that part of the student with other "
            "layers, or export 'saved_model' or 'onnx'"
        ),
    ),
    (
        _TYPES,
        lambda found: (
            f"TFLite's {found[1].upper()} does not take {found[3]}, but {found[2]}; cast what the layer before returns"
        ),
    ),
    (
        _NO_ONNX_OPERATOR,
        lambda found: (
            f"ONNX has no operator for {found[1]}; write that part of the student with other layers, or export "
            "'saved_model' or 'tflite'"
        ),
    ),
)


def explain(text: str) -> str:
    """Return the reason in the output of a converter; the text itself if it is not one of those known here.

    Args:
        text: Message of an error.

    Example:
        >>> explain("error: loc(...): 'tf.Erfinv' op is neither a custom op nor a flex op").split(";")[0]
        'TFLite has no operator for Erfinv'
        >>> explain("Expected a file. Received: a folder.")
        'Expected a file. Received: a folder.'
    """
    for pattern, describe in _LESSONS:
        found = pattern.search(text)
        if found:
            layer = _LAYER.search(text)
            place = f" (at {_shorten_path(layer[1])})" if layer else ""
            return describe(found) + place
    return text


def _shorten_path(name: str) -> str:
    """Return the layer in a name such as `model_1/block_1/dense_1/MatMul`, without the model and the operation."""
    parts = name.split("/")
    return "/".join(parts[1:-1]) or name
