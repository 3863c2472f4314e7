"""What the writer of the kept files and their test share: inputs, models, and one way to go on with a training."""

import pathlib

import keras
import numpy as np

import keras_distill as kd

FILES = pathlib.Path(__file__).with_name("files")
EXAMPLES, BATCH = 32, 16
FEATURES, CLASSES = 6, 4
SIDE, VOCABULARY, LENGTH = 8, 12, 6
SCHEDULE = kd.schedules.linear(8.0, 1.0, steps=7)


@keras.saving.register_keras_serializable(package="compatibility")
def answer_by_rule(x):
    """Answer a batch of vectors by sums of quarters, which no processor rounds."""
    return np.stack([x[:, 0] + x[:, 1], x[:, 2], 2.0 * x[:, 3] - x[:, 4], x[:, 5]], axis=-1)


def sum_pixels(x):
    """Answer a batch of images by sums of their corners, which no processor rounds."""
    return np.stack([x[:, 0, 0, 0], x[:, 0, -1, 0], x[:, -1, 0, 0], x[:, -1, -1, 0]], axis=-1)


def flip_and_crop(x, seed):
    """Flip and crop an image by a seed; its pixels are moved, not computed."""
    import tensorflow as tf

    x = tf.image.stateless_random_flip_left_right(x, seed)
    return tf.image.stateless_random_crop(x, (SIDE - 1, SIDE - 1, 1), seed + 1)


def replay(images):
    """Make the `Replay` of the kept store: its views are cut out of pixels, not computed from them."""
    return kd.targets.Replay(flip_and_crop, views=2, seed=5, mix="cutmix", classes=CLASSES, partners=images)


def make_inputs(seed=0):
    """Make vectors, images and tokens with labels; all numbers are quarters, exact in every precision."""
    generator = np.random.default_rng(seed)

    def quarters(*shape):
        return generator.integers(-8, 9, size=(EXAMPLES, *shape)).astype("float32") / 4.0

    return {
        "vectors": quarters(FEATURES),
        "images": quarters(SIDE, SIDE, 1),
        "sequences": quarters(LENGTH, FEATURES),
        "tokens": generator.integers(1, VOCABULARY, size=(EXAMPLES, LENGTH)).astype("int32"),
        "next_tokens": generator.integers(0, VOCABULARY, size=(EXAMPLES, LENGTH)).astype("int32"),
        "labels": generator.integers(0, CLASSES, size=EXAMPLES).astype("int32"),
    }


def padded_tokens(inputs):
    """Return the tokens with zeros at the ends of half of the sequences."""
    tokens = inputs["tokens"].copy()
    tokens[::2, 4:] = 0
    return tokens


def read_inputs():
    """Return the inputs that the files were written with."""
    with np.load(FILES / "inputs.npz", allow_pickle=False) as held:
        return dict(held)


def batches(case, inputs, folder):
    """Return the data set of two batches on which a case is trained, a `tf.data.Dataset`.

    Args:
        case: Name of the case, a key of `KIND`.
        inputs: What `make_inputs` or `read_inputs` returned.
        folder: Where the files are.
    """
    import tensorflow as tf

    kind = KIND[case]
    x, y = inputs[kind], inputs["next_tokens" if kind == "tokens" else "labels"]
    if case in STORES:
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
        return kd.targets.open(folder / "stores" / STORES[case]).join(dataset)
    if case == "contrastive":
        index = np.arange(EXAMPLES, dtype="int32")
        contrast = (index[:, None] + 5 * np.arange(4, dtype="int32")) % EXAMPLES
        extras = {"index": index, "contrast_index": contrast}
        return tf.data.Dataset.from_tensor_slices((x, y, np.ones(EXAMPLES, "float32"), extras)).batch(BATCH)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)


KIND = {
    "scheduled": "vectors",
    "every_logit_loss": "vectors",
    "every_feature_loss": "images",
    "learned_temperature": "vectors",
    "contrastive": "images",
    "ensemble": "images",
    "specialists": "vectors",
    "stored": "vectors",
    "stored_top_k": "vectors",
    "files_as_teachers": "vectors",
    "onnx_as_teacher": "vectors",
    "vocabulary": "tokens",
    "mutual": "vectors",
    "quantized_images": "images",
    "quantized_sequences": "sequences",
}
"""Each kept `.keras` file, and what its model is given."""

STORES = {"stored": "features", "stored_top_k": "top_k"}
"""The store that is the teacher of a case."""


def outputs(model, x):
    """Return what a model answers in inference mode, a list of arrays."""
    return [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(model(x, training=False))]


def student_weights(model):
    """Return the weights of the student, or of all students, a list of arrays."""
    students = model.students if hasattr(model, "students") else [model.student]
    return [weights for student in students for weights in student.get_weights()]


def go_on(case, model, dataset):
    """Train for two more epochs of two batches; return the logs, a dict of lists.

    The loss of the second epoch depends on all that the first one changed: the student, what is trained beside it, and
    the state of the optimizer.
    """
    callbacks = [kd.callbacks.TemperatureScheduler(SCHEDULE)] if case == "scheduled" else []
    return model.fit(dataset, epochs=2, shuffle=False, verbose=0, callbacks=callbacks).history
