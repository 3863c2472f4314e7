"""Weights of samples in every method and in hard losses: what is weighed, whatever the ranks of values and weights."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_distill as kd
from keras_distill.losses.hard_labels import HardLabelLoss
from keras_distill.losses.weights import call_loss, weighted_mean, weights_for_features
from tests.gradients import masked
from tests.losses.method_table import LOGITS, METHODS, make

N = 6
SHAPES = {2: (N, 5), 3: (N, 4, 5), 4: (N, 2, 3, 5)}
ANY_RANK = [*LOGITS, "fitnet", "sp"]
CASES = [(name, rank) for name in ANY_RANK for rank in SHAPES] + [
    (name, None) for name in METHODS if name not in ANY_RANK
]


def subset(batch, name, keep):
    """Return a batch of the samples to keep, or of the positions, each as a row."""
    part = make(name)
    part.loss = batch.loss
    part.teacher, part.student = (
        keras.tree.map_structure(lambda each: each[keep], outputs) for outputs in (batch.teacher, batch.student)
    )
    kept = ("labels", "index", "contrast_index")
    part.given = {key: value[keep] if key in kept else value for key, value in batch.given.items()}
    return part


def is_that_of(batch, part, keep, weights):
    """Assert that values and gradients are those of the part that has weight, and that nothing else is taught."""
    value, gradients = batch.value_and_gradient(sample_weight=weights)
    wanted, slopes = part.value_and_gradient()
    np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient[keep], slope, rtol=1e-3, atol=2e-6 * max(1.0, np.abs(slope).max()))
        assert not gradient[~keep].any()


@pytest.mark.parametrize("name, rank", CASES)
def test_weights_of_2_and_0_are_the_loss_of_half_of_the_samples(name, rank):
    """Methods that compare samples with each other leave those of weight 0 out of the comparison."""
    batch = make(name, SHAPES.get(rank))
    size = len(keras.tree.flatten(batch.student)[0])
    keep = np.arange(size) % 2 == 1
    weights = np.where(keep, 2.0, 0.0).astype("float32")
    is_that_of(batch, subset(batch, name, keep), keep, weights.reshape(-1, *[1] * (rank or 1)))


@pytest.mark.parametrize("name", ANY_RANK)
@pytest.mark.parametrize("rank", [3, 4])
def test_weights_of_positions(name, rank):
    shape = SHAPES[rank]
    batch = make(name, shape)
    keep = np.arange(np.prod(shape[:-1])).reshape(shape[:-1]) % 2 == 1
    weights = np.where(keep, 2.0, 0.0).astype("float32")
    if name == "sp":  # One value per sample, of those of its positions that have weight.
        value, (gradient,) = batch.value_and_gradient(sample_weight=weights)
        mask = batch.value_and_gradient(mask=keep)
        np.testing.assert_allclose(value, mask[0], rtol=1e-5)
        np.testing.assert_allclose(gradient, mask[1][0], rtol=1e-4, atol=1e-6)
    else:
        is_that_of(batch, subset(batch, name, keep), keep, weights[..., None] if rank == 4 else weights)


MAPS = sorted(name for name, method in METHODS.items() if method.family == "feature maps" and name != "fitnet")


@pytest.mark.parametrize("name", MAPS)
def test_pixel_weights_beside_one_value_per_image_count_as_their_mean(name):
    batch = make(name)  # As many images as the weights have rows and columns.
    weights = np.random.default_rng(0).uniform(0.1, 1, (4, 4, 4)).astype("float32")
    if name == "sp":
        weights = np.random.default_rng(0).uniform(0.1, 1, (4, 6, 6)).astype("float32")
    values = [batch.value_and_gradient(sample_weight=each)[0] for each in (weights, weights.mean((1, 2)))]
    np.testing.assert_allclose(*values, rtol=1e-5)
    plain = batch.value_and_gradient()[0]
    assert abs(values[0] - plain * weights.mean()) > 1e-5 * abs(plain)  # Not averaged apart from the values.


# Hard losses, where everything that can coincide does. ----------------------------------------------------------------

SIDE = 3


def dice_by_hand(y_true, y_pred):
    axes = tuple(range(1, len(y_pred.shape)))
    return 1 - (2 * ops.sum(y_true * y_pred, axes) + 1) / (ops.sum(y_true + y_pred, axes) + 1)


def pixel_error(y_true, y_pred):
    return ops.abs(y_true - y_pred)


PER_SAMPLE = {
    "dice": keras.losses.Dice(axis=(1, 2, 3)),
    "own": dice_by_hand,
    "tversky": keras.losses.Tversky(axis=(1, 2, 3)),
}
PER_POSITION = {
    "name": "mse",
    "object": keras.losses.MeanAbsoluteError(),
    "lambda": lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred), axis=-1),
    "own": pixel_error,
}
WEIGHTS = {"(N,)": (SIDE,), "(N, 1)": (SIDE, 1), "(N, 1, 1)": (SIDE, 1, 1), "(N, 1, 1, 1)": (SIDE, 1, 1, 1)}
WEIGHTS_OF_POSITIONS = {"(N, H)": (SIDE, SIDE), "(N, H, W)": (SIDE,) * 3, "(N, H, W, 1)": (SIDE, SIDE, SIDE, 1)}


def outputs(channels=1):
    draws = np.random.default_rng(0)
    y_pred = draws.uniform(0.1, 0.9, (SIDE, SIDE, SIDE, channels)).astype("float32")
    return (draws.random(y_pred.shape) > 0.5).astype("float32"), y_pred


def values_of(loss, y_true, y_pred):
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    return np.array(call(*map(ops.convert_to_tensor, (y_true, y_pred))))


def draw(shape):
    return np.random.default_rng(1).uniform(0, 2, shape).astype("float32")


def aligned(weights, values):
    while weights.ndim > values.ndim:
        weights = weights[..., 0]
    return weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim))


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("loss", PER_SAMPLE.values(), ids=PER_SAMPLE)
def test_weights_of_images_beside_one_value_per_image(loss, kind):
    y_true, y_pred = outputs()
    weights = draw(WEIGHTS[kind])
    values = values_of(loss, y_true, y_pred)
    assert values.shape == (SIDE,)
    got = HardLabelLoss(loss)(y_true, ops.convert_to_tensor(y_pred), weights)
    np.testing.assert_allclose(got, np.mean(values * weights.reshape(-1)), rtol=1e-5)


@pytest.mark.parametrize("kind", {**WEIGHTS, **WEIGHTS_OF_POSITIONS})
@pytest.mark.parametrize("loss", PER_POSITION.values(), ids=PER_POSITION)
def test_weights_beside_one_value_per_position(loss, kind):
    y_true, y_pred = outputs(channels=2)
    weights = draw({**WEIGHTS, **WEIGHTS_OF_POSITIONS}[kind])
    values = values_of(loss, y_true, y_pred)
    got = HardLabelLoss(loss)(y_true, ops.convert_to_tensor(y_pred), weights)
    np.testing.assert_allclose(got, np.mean(values * aligned(weights, values)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["(N, H)", "(N, H, W)", "(N, H, W, 1)"])
@pytest.mark.parametrize("loss", PER_SAMPLE.values(), ids=PER_SAMPLE)
def test_pixel_weights_beside_one_value_per_image_are_refused(loss, kind):
    y_true, y_pred = outputs()
    message = (
        r"^Expected one weight for each value of the loss '.*'\. Received: weights of shape .* Weigh the positions"
    )
    with pytest.raises(ValueError, match=message):
        HardLabelLoss(loss)(y_true, ops.convert_to_tensor(y_pred), draw(WEIGHTS_OF_POSITIONS[kind]))


@pytest.mark.parametrize("shape", [(4,), (SIDE, 2), (SIDE, SIDE, 4)])
def test_weights_of_other_sizes_are_refused(shape):
    y_true, y_pred = outputs(channels=2)
    with pytest.raises(ValueError, match="^Expected one weight for each sample, or for each position"):
        HardLabelLoss("mse")(y_true, ops.convert_to_tensor(y_pred), draw(shape))


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
def test_the_reduction_of_a_loss_is_kept(reduction):
    y_true, y_pred = outputs(channels=2)
    loss, weights = keras.losses.MeanSquaredError(reduction=reduction), draw((SIDE,))
    whole = np.broadcast_to(weights[:, None, None], (SIDE,) * 3)
    got = call_loss(loss, ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred), weights)
    np.testing.assert_allclose(got, loss(y_true, y_pred, np.array(whole)), rtol=1e-5)


def test_a_loss_with_one_value_for_the_batch_warns():
    y_true, y_pred = outputs()
    loss = keras.losses.Dice()
    with pytest.warns(UserWarning, match="returns one value for the whole batch, so a sample of weight 0 still counts"):
        got = HardLabelLoss(loss)(y_true, ops.convert_to_tensor(y_pred), draw((SIDE,)))
    np.testing.assert_allclose(got, loss(y_true, y_pred, draw((SIDE,))), rtol=1e-5)  # Keras's value.


@pytest.mark.parametrize("weighted", [False, True])
def test_masks_beside_one_value_per_sequence(weighted):
    draws = np.random.default_rng(0)
    y_pred = draws.uniform(0.1, 0.9, (4, 3, 2)).astype("float32")
    y_true = (draws.random(y_pred.shape) > 0.5).astype("float32")
    mask = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)  # The third is nothing but padding.
    weights = draw((4,)) if weighted else None
    got = HardLabelLoss(dice_by_hand)(y_true, masked(y_pred, mask), weights)
    values = np.array(dice_by_hand(y_true, y_pred)) * (1 if weights is None else weights)
    np.testing.assert_allclose(got, values[[0, 1, 3]].sum() / 3, rtol=1e-5)


@pytest.mark.parametrize("mask_rank, weight_rank", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (2, 3)])
def test_masks_and_weights_of_different_ranks(mask_rank, weight_rank):
    draws = np.random.default_rng(0)
    values = draws.uniform(1, 2, (3, 3, 3)).astype("float32")
    mask = draws.random((3,) * mask_rank) > 0.4
    weights = draw((3,) * weight_rank)
    whole_mask = np.broadcast_to(aligned(mask, values), values.shape)
    wanted = np.sum(values * aligned(weights, values) * whole_mask) / whole_mask.sum()
    np.testing.assert_allclose(weighted_mean(values, weights, mask), wanted, rtol=1e-5)


def test_weights_for_features():
    weights = draw((2, 4, 4))
    mean = weights.mean((1, 2))
    output, same, smaller, tokens = (np.zeros(shape) for shape in ((2, 4, 4, 1), (2, 4, 4, 8), (2, 2, 2, 8), (2, 4, 8)))
    got = weights_for_features(weights, [same, smaller, tokens], output)
    for found, wanted in zip(got, (weights, mean, mean), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_allclose(weights_for_features(weights, [same, smaller], output, staged=True), mean, rtol=1e-6)
    np.testing.assert_allclose(weights_for_features({"mask": weights}, same, [output, output]), mean, rtol=1e-6)
    assert weights_for_features(None, same, output) is None
    with pytest.raises(ValueError, match="^Expected one array of weights for a loss that compares layers"):
        weights_for_features([weights, weights], same, [output, output])


@pytest.mark.tensorflow_only
def test_weights_for_features_of_unknown_size():
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, None, 3))
    convert = tf.function(weights_for_features, input_signature=[tf.TensorSpec((None, None, None)), spec, spec])
    weights, output = draw((2, 4, 4)), np.zeros((2, 4, 4, 3), "float32")
    np.testing.assert_array_equal(convert(weights, output, output), weights)
    got = convert(weights, output[:, ::2, ::2], output)
    np.testing.assert_allclose(got, np.broadcast_to(weights.mean((1, 2), keepdims=True), (2, 2, 2)), rtol=1e-6)


# In training ----------------------------------------------------------------------------------------------------------


def segmenter(channels):
    inputs = keras.Input((8, 8, 3))
    first = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name="first")(inputs)
    second = keras.layers.Conv2D(channels, 3, strides=2, padding="same", name="second")(first)
    up = keras.layers.UpSampling2D()(second)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(up))


class Own(kd.losses.DistillationLoss):
    def per_sample(self, teacher_output, student_output):
        return ops.sum(ops.square(teacher_output - student_output), axis=(1, 2, 3))


BOTH = {"teacher_layer_name": ["first", "second"], "student_layer_name": ["first", "second"]}


@pytest.fixture(scope="module")
def distiller():
    keras.utils.set_random_seed(0)
    names = ["at", "nst", "sp", "vid", "ab", "fsp", "ft", "ickd", "fitnet"]
    losses = [kd.losses.get(name, **BOTH) for name in names] + ["kd", "dist", Own()]
    distiller = kd.Distiller(segmenter(4), segmenter(4), losses)
    distiller.compile(keras.optimizers.SGD(0.0), dice_by_hand, run_eagerly=True)
    return distiller


@pytest.fixture(scope="module")
def pictures():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(8, 8, 8, 3)).astype("float32")
    return x, np.eye(2, dtype="float32")[draws.integers(0, 2, (8, 8, 8))]


def logs_of(distiller, *batch, **given):
    distiller.reset_metrics()
    return distiller.train_on_batch(*batch, return_dict=True, **given)


@pytest.mark.parametrize("axes", [0, 1, 3])
def test_an_image_of_weight_0_teaches_nothing(distiller, pictures, axes):
    x, y = pictures
    keep = np.arange(8) < 4
    weights = np.where(keep, 2.0, 0.0).astype("float32").reshape(8, *[1] * axes)
    got, wanted = logs_of(distiller, x, y, sample_weight=weights), logs_of(distiller, x[keep], y[keep])
    for name in ("student_loss", "distillation_loss", *distiller.objective.names):
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_pixel_weights_in_training(distiller, pictures):
    x, y = pictures
    weights = draw((8, 8, 8))
    losses = {name: loss for name, loss in zip(distiller.objective.names, distiller.distillation_losses, strict=True)}
    pixelwise = kd.Distiller(distiller.teacher, distiller.student, [losses[name] for name in ("at", "fitnet", "kd")])
    pixelwise.compile(keras.optimizers.SGD(0.0), "mse")
    got = pixelwise.train_on_batch(x, y, sample_weight=weights, return_dict=True)
    models = distiller.teacher, distiller.student
    outputs = [np.array(model(x)) for model in models]
    np.testing.assert_allclose(got["student_loss"], np.mean(np.mean((outputs[1] - y) ** 2, -1) * weights), rtol=1e-4)
    v, z = (np.log(output) for output in outputs)
    kl = np.array(losses["kd"].compute_loss(v, z, sample_weight=weights))
    np.testing.assert_allclose(got["kd"], kl, rtol=1e-3)
    errors = []
    for layer in ("first", "second"):
        features = [np.array(keras.Model(model.input, model.get_layer(layer).output)(x)) for model in models]
        errors.append(np.mean((features[0] - features[1]) ** 2, -1))
    fitnet = np.mean(errors[0] * weights) + np.mean(errors[1].mean((1, 2)) * weights.mean((1, 2)))
    np.testing.assert_allclose(got["fitnet"], fitnet, rtol=1e-4)
    with pytest.raises(ValueError, match="^Expected one weight for each value of the loss 'dice_by_hand'"):
        logs_of(distiller, x, y, sample_weight=weights)


def test_weights_of_each_of_several_outputs():
    """Here, too, what is one per sample multiplies samples, though as many as there are rows and columns."""
    draws = np.random.default_rng(0)

    def model(channels):
        inputs = keras.Input((4, 4, 3))
        maps = keras.layers.Conv2D(channels, 1)(inputs)
        pooled = keras.layers.GlobalAveragePooling2D()(maps)
        layers = keras.layers.Conv2D(2, 1, name="pixels"), keras.layers.Dense(3, name="picture")
        return keras.Model(inputs, {"pixels": layers[0](maps), "picture": layers[1](pooled)})

    x = draws.normal(size=(4, 4, 4, 3)).astype("float32")
    y = {"pixels": draws.integers(0, 2, (4, 4, 4)), "picture": draws.integers(0, 3, 4)}
    teacher, student = model(8), model(4)
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(4.0))
    distiller.compile(keras.optimizers.SGD(0.0), dict.fromkeys(y, "sparse_categorical_crossentropy"), run_eagerly=True)
    for weights in (
        {"pixels": draw((4, 4, 4)), "picture": draw((4,))},
        {"pixels": draw((4,)), "picture": draw((4, 1))},
        {"pixels": draw((4, 1, 1)), "picture": draw((4,))},
    ):
        distiller.reset_metrics()
        got = distiller.train_on_batch(x, y, weights, return_dict=True)
        hard, soft = 0.0, 0.0
        for name, z in student(x).items():
            v, z = np.array(teacher(x)[name]), np.array(z)
            cross_entropy = np.array(keras.losses.sparse_categorical_crossentropy(y[name], z, from_logits=True))
            divergence = np.array(kd.losses.functional.kd(v, z, 4.0))
            hard += np.mean(cross_entropy * aligned(weights[name], cross_entropy))
            soft += np.mean(divergence * aligned(weights[name], divergence))
        np.testing.assert_allclose(got["student_loss"], hard, rtol=1e-4)
        np.testing.assert_allclose(got["distillation_loss"], soft, rtol=1e-4)
