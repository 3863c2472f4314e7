"""Choose the layers of two models that a loss compares: by name, by spatial size, or those before the heads."""

import collections
from collections.abc import Sequence
from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.features.layers import ACTIVATIONS, find_layers, forward_steps, is_from, is_pattern
from keras_distill.features.tracing import check_built, leaks, shapes_of


@checked(
    teacher_layer_name=str | Sequence[str | None] | None,
    student_layer_name=str | Sequence[str | None] | None,
)
def choose_layers(
    teacher: keras.Model,
    student: keras.Model,
    teacher_layer_name: Any,
    student_layer_name: Any,
    automatic: str | None = None,
) -> tuple[Any, Any]:
    """Find the layers of a teacher and a student that a loss compares.

    Args:
        teacher: The teacher.
        student: The student.
        teacher_layer_name: A name, path or pattern (see `find_layers`), a list of them, `None` for the final output,
            or `"auto"`.
        student_layer_name: Layers of the student, in the same form. `"auto"` must be given for both or neither.
        automatic: What `"auto"` selects: `"maps"`, see `pair_layers`, or `"embedding"`, see `embedding_layer`.
            Defaults to `None`: `"auto"` is not allowed.

    Returns:
        A tuple `(teacher_names, student_names)`: two full paths (`None` for a final output); or two lists of the same
        length if a list or a pattern is given, or if several pairs are found.

    Raises:
        ValueError: If a model is not built or has no such layer, or if the numbers of layers differ.

    Example:

    >>> def model(depth):
    ...     hidden = [keras.layers.Dense(8, name=f"hidden_{index}") for index in range(depth)]
    ...     return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3, name="head")])
    >>> choose_layers(model(4), model(2), "hidden_[13]", "hidden_*")
    (['hidden_1', 'hidden_3'], ['hidden_0', 'hidden_1'])
    >>> choose_layers(model(4), model(2), "auto", "auto", automatic="embedding")
    ('hidden_3', 'hidden_1')
    """
    if "auto" in (teacher_layer_name, student_layer_name):
        return _choose_automatically(teacher, student, teacher_layer_name, student_layer_name, automatic)
    teachers = _resolve(teacher, teacher_layer_name, "teacher")
    students = _resolve(student, student_layer_name, "student")
    if not isinstance(teachers, list) and not isinstance(students, list):
        return teachers, students
    teachers, students = (each if isinstance(each, list) else [each] for each in (teachers, students))
    if len(teachers) != len(students):
        received = f"{len(teachers)} of the teacher, {_join(teachers)}, and {len(students)} of the student, "
        raise ValueError(expected("as many layers of both models", received + _join(students)))
    return teachers, students


def _choose_automatically(teacher, student, teacher_layer_name, student_layer_name, automatic):
    if teacher_layer_name != student_layer_name:
        received = f"teacher_layer_name={teacher_layer_name!r}, student_layer_name={student_layer_name!r}"
        raise ValueError(expected("both layers to be 'auto', or neither", received))
    if automatic == "embedding":
        return embedding_layer(teacher, "teacher"), embedding_layer(student, "student")
    if automatic != "maps":
        raise ValueError(expected("layers by name, since this loss does not choose them automatically", "'auto'"))
    pairs = pair_layers(teacher, student)
    teachers, students = ([pair[side] for pair in pairs] for side in (0, 1))
    return (teachers, students) if len(pairs) > 1 else (teachers[0], students[0])


def _resolve(model, names, role):
    if names is None:
        return None
    check_built(model, role, repr(names))
    if isinstance(names, str):
        paths = find_layers(model, names, role)
        return paths if is_pattern(names) and paths != [names] else paths[0]
    return [path for name in names for path in ([None] if name is None else find_layers(model, name, role))]


def _join(paths):
    return ", ".join(map(repr, paths))


@checked()
def pair_layers(teacher: keras.Model, student: keras.Model, count: int | None = None) -> list[tuple[str, str]]:
    """Pair the layers of a teacher and a student that return feature maps of the same size.

    For each height and width that occurs in both models, these are the last layers that return such maps, after the
    activation and the sum of a block. If there are no maps, sequences `[batch, length, width]` are paired by length.
    Layers that only pad, crop, reshape or prepare the input, dropout, and the final output are left out. The layers
    inside nested models are included.

    Args:
        teacher: A built `keras.Model`.
        student: A built `keras.Model`.
        count: Largest number of pairs to return, of which the deepest are kept. Defaults to `None`, all.

    Returns:
        A list of `(teacher_path, student_path)`, from shallow to deep.

    Raises:
        ValueError: If a model is not built, or the models have no size in common.

    Example:

    >>> def model(*widths):
    ...     blocks = [keras.layers.Conv2D(width, 3, 2, "same", name=f"conv_{width}") for width in widths]
    ...     head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    ...     return keras.Sequential([keras.Input((16, 16, 3)), *blocks, *head])
    >>> pair_layers(model(32, 64, 128), model(8, 12))
    [('conv_32', 'conv_8'), ('conv_64', 'conv_12')]
    """
    stages = []
    for role, model in (("teacher", teacher), ("student", student)):
        check_built(model, role, "feature maps")
        stages.append(_find_stages(model))
    common = [size for size in stages[0] if size in stages[1]]
    common = [size for size in common if len(size) == 2] or common
    if not common:
        received = f"{_sizes(stages[0])} in the teacher, {_sizes(stages[1])} in the student"
        raise ValueError(
            expected("feature maps of the same size in both models", received, "Name the layers to compare.")
        )
    pairs = [(stages[0][size], stages[1][size]) for size in common]
    return pairs if count is None else pairs[-count:]


def _sizes(stages):
    return ", ".join("x".join(map(str, size)) for size in stages) or "none"


def _find_stages(model):
    """Return the path of the last layer of each size, `(height, width)` or `(length,)`, in the order of the layers."""
    output, steps = forward_steps(model, sized=True)
    stages = {}
    for step in _features(output, steps):
        size = _shape(step)[1:-1]
        if _has_size(size) and not is_from(step.layer, "reshaping") and not _is_in(step.returned, output):
            stages.pop(size, None)  # The order is that of the last layers, not of the first.
            stages[size] = step.path
    return stages


def _has_size(size):
    return (len(size) == 1 and size != (1,)) or (len(size) == 2 and None not in size and size != (1, 1))


@checked()
def embedding_layer(model: keras.Model, role: str = "model") -> str:
    """Return the layer whose output `[batch, width]` is the input of a model's head.

    It is the last layer before the head that returns vectors, such as a pooling or the last hidden dense layer. An
    activation after the head's dense layer belongs to the head, and dropout is left out.

    Args:
        model: A built `keras.Model`.
        role: The role of the model, for the messages. Defaults to `"model"`.

    Returns:
        The full path of the layer.

    Raises:
        ValueError: If the model is not built, or has no such layer.

    Example:

    >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(name="pool")]
    >>> layers += [keras.layers.Dropout(0.5), keras.layers.Dense(10), keras.layers.Softmax()]
    >>> embedding_layer(keras.Sequential(layers))
    'pool'
    """
    check_built(model, role, "an embedding")
    output, steps = forward_steps(model)
    vectors = [step for step in _features(output, steps) if len(_shape(step)) == 2]
    head = _find_head(output, steps, vectors)
    hidden = [step.path for step in vectors if not _is_in(step.returned, head)]
    if not hidden:
        fix = f"Name a layer: {role}_layer_name." if role in ("teacher", "student") else None
        received = f"{model.name!r}, which has no such layer"
        raise ValueError(expected(f"a {role} with a layer before its head that returns [batch, width]", received, fix))
    return hidden[-1]


def _find_head(output, steps, vectors):
    """Return the tensors of the head: the final outputs, and the inputs of the activations that return them."""
    head = keras.tree.flatten(output)
    if vectors and not any(_is_in(step.returned, head) for step in steps):
        # The output is computed outside of all layers, from the output of the last of them.
        head += [vectors[-1].returned] if _shape(vectors[-1]) in map(shapes_of, head) else []
    for step in reversed(steps):
        if (isinstance(step.layer, ACTIVATIONS) or is_from(step.layer, "reshaping")) and _is_in(step.returned, head):
            head.append(step.given)
    return head


def _features(output, steps):
    """Return the steps from the first weights on that can be tapped and that return a new tensor."""
    runs = collections.Counter(step.path for step in steps)
    seen, features, learnt = set(), [], False
    for step in steps:
        if step.part or is_from(step.layer, "preprocessing"):
            continue
        learnt = learnt or bool(step.layer.weights)
        # A nested model returns the output of its last layer, and dropout in inference returns its input.
        new = step.returned is not step.given and id(step.returned) not in seen
        seen.add(id(step.returned))
        if learnt and new and runs[step.path] == 1 and not leaks(step.returned, output):
            features.append(step)
    return features


def _shape(step):
    """Return the shape of the output of a step, or `()` for several tensors."""
    return () if keras.tree.is_nested(step.returned) else shapes_of(step.returned) or ()


def _is_in(tensor, nest):
    return any(tensor is each for each in keras.tree.flatten(nest))
