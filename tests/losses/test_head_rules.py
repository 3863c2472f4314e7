"""Which heads are linear, which end in a sigmoid or softmax further back, and which are neither."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_distill as kd
from keras_distill._core.models import run
from keras_distill.losses.hard_labels import HardLabelLoss
from keras_distill.losses.heads import find_head, head_of, logits_of

FLAT, SEQUENCE, IMAGE = (6,), (5, 6), (4, 4, 3)


def sequential(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts])


def functional(shape, function):
    inputs = keras.Input(shape)
    return keras.Model(inputs, function(inputs))


def two(activation, *joint, units=3):
    def join(x):
        both = [layers.Dense(units, activation)(x) for _ in range(2)]
        return joint[0](both)

    return functional(FLAT, join)


def lora():
    dense = layers.Dense(3)
    model = sequential(FLAT, dense)
    dense.enable_lora(2)
    return model


SIGMOID = {
    "last": lambda: sequential(FLAT, layers.Dense(1, "sigmoid")),
    "TimeDistributed": lambda: sequential(SEQUENCE, layers.TimeDistributed(layers.Dense(1, "sigmoid"))),
    "TimeDistributed, any length": lambda: sequential((None, 6), layers.TimeDistributed(layers.Dense(1, "sigmoid"))),
    "Reshape": lambda: sequential(FLAT, layers.Dense(4, "sigmoid"), layers.Reshape((2, 2))),
    "Flatten": lambda: sequential(SEQUENCE, layers.Dense(4, "sigmoid"), layers.Flatten()),
    "Permute": lambda: sequential(SEQUENCE, layers.Dense(4, "sigmoid"), layers.Permute((2, 1))),
    "RepeatVector": lambda: sequential(FLAT, layers.Dense(4, "sigmoid"), layers.RepeatVector(3)),
    "UpSampling": lambda: sequential(IMAGE, layers.Conv2D(1, 1, activation="sigmoid"), layers.UpSampling2D()),
    "Cropping": lambda: sequential(IMAGE, layers.Conv2D(1, 1, activation="sigmoid"), layers.Cropping2D()),
    "slice": lambda: functional(FLAT, lambda x: layers.Dense(3, "sigmoid")(x)[:, :1]),
    "Concatenate": lambda: two("sigmoid", layers.Concatenate()),
    "the largest": lambda: sequential(IMAGE, layers.Conv2D(2, 1, activation="sigmoid"), layers.GlobalMaxPooling2D()),
}
SOFTMAX = {
    "last": lambda: sequential(FLAT, layers.Dense(3, "softmax")),
    "TimeDistributed": lambda: sequential(SEQUENCE, layers.TimeDistributed(layers.Dense(3, "softmax"))),
    "TimeDistributed, any length": lambda: sequential((None, 6), layers.TimeDistributed(layers.Dense(3, "softmax"))),
    "Reshape": lambda: sequential(FLAT, layers.Dense(4, "softmax"), layers.Reshape((1, 4))),
    "UpSampling": lambda: sequential(IMAGE, layers.Conv2D(3, 1, activation="softmax"), layers.UpSampling2D()),
    "Permute": lambda: sequential(SEQUENCE, layers.Dense(3, "softmax"), layers.Permute((2, 1)), layers.Permute((2, 1))),
    "Average": lambda: two("softmax", layers.Average()),
    "weighted average": lambda: two("softmax", lambda both: 0.25 * both[0] + 0.75 * both[1]),
    "GlobalAveragePooling": lambda: sequential(SEQUENCE, layers.Dense(3, "softmax"), layers.GlobalAveragePooling1D()),
}
LINEAR = {
    "Dense": lambda: sequential(FLAT, layers.Dense(3)),
    "without bias": lambda: sequential(FLAT, layers.Dense(3, use_bias=False)),
    "one unit": lambda: sequential(FLAT, layers.Dense(1), layers.Reshape((1,))),
    "TimeDistributed, any length": lambda: sequential((None, 6), layers.TimeDistributed(layers.Dense(3))),
    "convolution": lambda: sequential(IMAGE, layers.Conv2D(3, 1), layers.UpSampling2D(interpolation="bilinear")),
    "transposed": lambda: sequential(IMAGE, layers.Conv2DTranspose(3, 2)),
    "BatchNormalization": lambda: sequential(FLAT, layers.Dense(3), layers.BatchNormalization()),
    "LayerNormalization": lambda: sequential(FLAT, layers.Dense(3), layers.LayerNormalization()),
    "Dropout": lambda: sequential(FLAT, layers.Dense(3), layers.Dropout(0.5)),
    "pooled": lambda: sequential(IMAGE, layers.Conv2D(3, 1), layers.GlobalAveragePooling2D()),
    "sum": lambda: two(None, layers.Add()),
    "residual": lambda: functional(FLAT, lambda x: layers.Dense(6)(x) + x),
    "soft cap": lambda: functional(FLAT, lambda x: 30.0 * keras.ops.tanh(layers.Dense(3)(x) / 30.0)),
    "log_softmax": lambda: sequential(FLAT, layers.Dense(3, "log_softmax")),
    "low rank": lora,
}
BENT = ("hard_sigmoid", "relu", "tanh", "swish", "gelu", "softplus", "elu", "leaky_relu", "sparse_sigmoid", "sparsemax")
UNKNOWN = {
    **{name: lambda name=name: sequential(FLAT, layers.Dense(3, name)) for name in BENT},
    "product of sigmoids": lambda: two("sigmoid", layers.Multiply()),
    "average of sigmoids": lambda: two("sigmoid", layers.Average()),
    "sum of softmaxes": lambda: two("softmax", layers.Add()),
    "softmaxes side by side": lambda: two("softmax", layers.Concatenate()),
    "softmax and logits": lambda: functional(
        FLAT, lambda x: layers.Concatenate()([layers.Dense(2, "sigmoid")(x), layers.Dense(2)(x)])
    ),
    "softmax across rows": lambda: sequential(FLAT, layers.Dense(4, "softmax"), layers.Reshape((2, 2))),
    "softmax on its side": lambda: sequential((3, 6), layers.Dense(3, "softmax"), layers.Permute((2, 1))),
    "LSTM": lambda: sequential(SEQUENCE, layers.LSTM(1, activation="sigmoid")),
    "LSTM, all steps": lambda: sequential(SEQUENCE, layers.LSTM(1, activation="sigmoid", return_sequences=True)),
    "bilinear": lambda: sequential(
        IMAGE, layers.Conv2D(1, 1, activation="sigmoid"), layers.UpSampling2D(interpolation="bilinear")
    ),
    "padded": lambda: sequential(IMAGE, layers.Conv2D(1, 1, activation="sigmoid"), layers.ZeroPadding2D()),
    "grouped classes": lambda: functional(
        FLAT, lambda x: keras.ops.matmul(layers.Dense(4, "softmax")(x), np.eye(4, 2, dtype="float32"))
    ),
    "one minus": lambda: functional(FLAT, lambda x: 1.0 - layers.Dense(3, "sigmoid")(x)),
}
TABLE = [
    (kind, name, make)
    for kind, heads in (("sigmoid", SIGMOID), ("softmax", SOFTMAX), ("linear", LINEAR), ("unknown", UNKNOWN))
    for name, make in heads.items()
]
EXACT = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}
BINARY = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "binary_focal_crossentropy": keras.losses.BinaryFocalCrossentropy,
}
CATEGORICAL = {
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
}


def sample(model):
    shape = (4, *[size or 7 for size in model.input_shape[1:]])
    return tf.constant(np.random.default_rng(0).normal(size=shape), "float32")


@pytest.mark.parametrize("kind, make", [row[::2] for row in TABLE], ids=[f"{row[0]}-{row[1]}" for row in TABLE])
def test_kinds_logits_and_the_value_of_losses_by_name(kind, make):
    model = make()
    x, seen = sample(model), []
    by_name = {} if kind == "softmax" else BINARY
    by_name = by_name | ({} if kind == "sigmoid" or model.output_shape[-1] == 1 else CATEGORICAL)

    def compute(x):
        output = model(x)
        seen.append(head_of(output)[0])
        labels = keras.ops.one_hot(keras.ops.zeros_like(output[..., 0], "int32"), output.shape[-1])
        return output, head_of(output)[1], labels, [HardLabelLoss(name)(labels, output) for name in by_name]

    output, logits, labels, values = tf.function(compute, autograph=False)(x)
    assert seen == [kind]
    if kind in EXACT:
        np.testing.assert_allclose(EXACT[kind](logits), output, atol=2e-7)
    # What Keras computes from the numbers alone: it does not see an activation behind them.
    output = tf.constant(output.numpy())
    wanted = [by_name[name](from_logits=kind == "linear")(labels, output) for name in by_name]
    np.testing.assert_allclose(values, wanted, rtol=1e-4)

    eager = run(model, x, training=False)
    assert head_of(eager)[0] == kind
    np.testing.assert_allclose([HardLabelLoss(name)(labels, eager) for name in by_name], wanted, rtol=1e-4)


@pytest.mark.parametrize("name", ["BatchNormalization", "LayerNormalization", "Dropout", "low rank"])
def test_linear_in_training_too(name):
    model, kinds = LINEAR[name](), []
    step = tf.function(lambda x: kinds.append(find_head(model(x, training=True)).kind))
    step.get_concrete_function(sample(model))
    assert kinds == ["linear"]


@pytest.mark.parametrize("name", ["TimeDistributed", "Reshape", "Average"])
@pytest.mark.parametrize("eager", [False, True])
def test_gradients_reach_the_weights(name, eager):
    model = SOFTMAX[name]()
    x = sample(model)

    def gradients(logits, x):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(tf.square(tf.nn.log_softmax(logits(run(model, x, training=True)))))
        return tape.gradient(value, model.trainable_variables)

    found = gradients(logits_of, x) if eager else tf.function(gradients)(logits_of, x)
    for one, other in zip(found, gradients(tf.math.log, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["TimeDistributed", "Average"])
def test_a_student_and_a_teacher_with_such_a_head(name):
    teacher, student = SOFTMAX[name](), SOFTMAX[name]()
    x = sample(student).numpy()
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(2.0))
    distiller.compile(keras.optimizers.SGD(0.0))
    found = distiller.fit(x, verbose=0).history["distillation_loss"][0]
    wanted = kd.losses.LogitsDistillation(2.0).compute_loss(*(tf.math.log(model(x)) for model in (teacher, student)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", ["TimeDistributed", "Reshape"])
def test_a_loss_object_does_not_warn_of_a_head_that_is_not_linear(name, recwarn):
    model = SIGMOID[name]()

    @tf.function
    def compute(x):
        output = model(x)
        return HardLabelLoss(keras.losses.BinaryCrossentropy())(output * 0.0, output)

    compute(sample(model))
    assert not [each for each in recwarn if "from_logits" in str(each.message)]


def test_on_jax():
    jax = pytest.importorskip("jax")
    from keras_distill.losses.head_jax import JaxGraph
    from keras_distill.losses.head_rules import read_head

    jnp, nn = jax.numpy, jax.nn
    heads = {
        "linear": [lambda z: z, lambda z: z + 1.0, lambda z: z.reshape(2, 4)[:, :2] * 3.0, nn.log_softmax],
        "sigmoid": [nn.sigmoid, lambda z: nn.sigmoid(z).T, lambda z: jnp.concatenate([nn.sigmoid(z)] * 2)],
        "softmax": [nn.softmax, lambda z: nn.softmax(z)[:, None], lambda z: (nn.softmax(z) + nn.softmax(-z)) / 2.0],
        "unknown": [nn.relu, nn.gelu, nn.swish, lambda z: nn.sigmoid(z) * nn.sigmoid(-z), lambda z: nn.softmax(z).T],
    }
    for kind, functions in heads.items():
        for function in functions:
            traced = jax.make_jaxpr(lambda w, x, f=function: f(x @ w))(np.ones((6, 4)), np.ones((2, 6))).jaxpr
            graph = JaxGraph(traced, traced.invars[:1])
            assert read_head(graph.outputs[0], graph).kind == kind


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_batch_of_one_row_has_the_same_head(name):
    model, kinds = SOFTMAX[name](), []
    step = tf.function(lambda x: kinds.append(find_head(model(x)).kind))
    step.get_concrete_function(sample(model)[:1])
    assert kinds == ["softmax"]
