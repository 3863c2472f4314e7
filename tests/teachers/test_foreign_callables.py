"""Functions of NumPy arrays teach, are called again when they fail, and are not believed blindly."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill._core import guards
from keras_distill.teachers import CallableTeacher, arrays, as_teacher
from keras_distill.teachers.remote import retried

MATRIX = np.random.default_rng(4).normal(size=(4, 3)).astype("float32")


def service(x):
    return x @ MATRIX


@keras.saving.register_keras_serializable(package="tests_of_foreign_teachers")
def registered(x):
    return x @ MATRIX


class Calls:
    """A service that remembers its calls, and fails in those that it is told to."""

    def __init__(self, function=service, failing=()):
        self.function, self.failing, self.sizes = function, set(failing), []

    def __call__(self, x):
        self.sizes.append(len(x))
        if len(self.sizes) in self.failing:
            raise ConnectionError(f"no line at call {len(self.sizes)}")
        return self.function(x)


def distilled(teacher, data, student_seed=5, **options):
    keras.utils.set_random_seed(student_seed)
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(3.0))
    distiller.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", **options)
    distiller.fit(data[0][:12], data[1][:12], batch_size=4, shuffle=False, verbose=0)
    return student.get_weights(), distiller


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known", [{"input_shape": (4,)}, {"classes": 3}, {}], ids=["input_shape", "classes", "nothing"]
)
def test_logits_in_and_out_of_a_graph(data, known):
    teacher = as_teacher(service, **known)
    assert isinstance(teacher, CallableTeacher) and not teacher.supports_jit and teacher.built

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def logits(x):
        result = teacher(x)
        assert result.shape.as_list() == [None, 3]
        return result

    x = data[0]
    for result in (logits(x), teacher(x), teacher.predict(x, verbose=0)):
        assert_allclose(result, x @ MATRIX, atol=1e-5)
    assert logits(x[:0]).shape == (0, 3) and result.dtype == "float32"
    assert teacher.outputs[0].shape == (None, 3)


def test_what_is_called_when(data):
    calls = Calls()
    teacher = as_teacher(calls)
    assert calls.sizes == []
    teacher(data[0])
    assert calls.sizes == [2, 96]  # Two made-up samples, then the batch.
    as_teacher(calls, input_shape=(4,))
    assert calls.sizes == [2, 96, 2]
    as_teacher(calls, input_shape=(4,), classes=3)
    as_teacher(calls, classes=3)(data[0])
    assert calls.sizes == [2, 96, 2, 96]


@pytest.mark.parametrize(("size", "sizes"), [(40, [40, 40, 16]), (96, [96]), (1000, [96]), (1, [1] * 96)])
def test_batch_size_is_the_most_at_once(data, size, sizes):
    calls = Calls()
    assert_allclose(as_teacher(calls, classes=3, batch_size=size)(data[0]), data[0] @ MATRIX, atol=1e-5)
    assert calls.sizes == sizes


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64"])
def test_inputs_are_given_as_they_are(dtype):
    seen = []
    as_teacher(lambda x: seen.append(x) or np.zeros((len(x), 2)), classes=2)(tf.ones((3, 4), dtype))
    assert_array_equal(seen[0], np.ones((3, 4), dtype), strict=True)


@pytest.mark.parametrize("eager", [True, False])
def test_a_function_that_works_in_place_changes_no_input(data, eager):
    def in_place(x):
        x *= 0.0
        return x[:, :3]

    tensor = tf.constant(data[0])
    call = as_teacher(in_place, classes=3)
    (call if eager else tf.function(call))(tensor)
    assert_array_equal(tensor.numpy(), data[0])


def test_inputs_of_any_structure():
    teacher = as_teacher(
        lambda x: x["a"] @ MATRIX + x["b"][0],
        input_shape={"a": (4,), "b": [(3,)]},
        input_dtype={"a": "float32", "b": ["int32"]},
    )
    a, b = np.ones((2, 4), "float32"), np.arange(6).reshape(2, 3)
    for call in (teacher, tf.function(teacher)):
        assert_allclose(call({"a": tf.constant(a), "b": [tf.constant(b)]}), a @ MATRIX + b, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (2, 6, 3)])
def test_a_row_of_classes_for_each_position(shape):
    def positions(x):
        return np.broadcast_to(np.arange(3.0), (len(x), *shape))

    logits = tf.function(as_teacher(positions, input_shape=(4,)))(tf.ones((2, 4)))
    assert_array_equal(logits.numpy(), np.broadcast_to(np.arange(3.0, dtype="float32"), (2, *shape)))


def test_free_lengths_need_the_shape_of_the_answer():
    def tokens(x):
        return np.eye(3)[x]

    with pytest.raises(
        ValueError, match=r"^Expected `classes`, .*'tokens'\. Received: inputs of shape \[\(None, None\)\]"
    ):
        tf.function(as_teacher(tokens), autograph=False, input_signature=[tf.TensorSpec((None, None))])(tf.ones((1, 1)))
    teacher = as_teacher(tokens, input_shape=(None,), input_dtype="int32", classes=(None, 3))
    for length in (2, 5):
        assert_array_equal(teacher(tf.ones((2, length), tf.int32))[:, 0], [[0, 1, 0]] * 2)


def test_lists_and_tensors_are_arrays(data):
    assert_allclose(as_teacher(lambda x: (x @ MATRIX).tolist(), classes=3)(data[0]), data[0] @ MATRIX, atol=1e-5)
    assert_allclose(as_teacher(tf.function(lambda x: x @ MATRIX), classes=3)(data[0]), data[0] @ MATRIX, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_become_their_logarithms(dtype):
    p = np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    logits = CallableTeacher(lambda x: p, outputs="probabilities", classes=3, dtype=dtype)(np.ones((2, 4)))
    with np.errstate(divide="ignore"):
        assert_array_equal(logits.numpy(), np.log(p.astype(dtype)))  # -inf where the probability is zero.


def test_log_probabilities_are_as_they_are(data):
    rows = np.array([[np.log(0.25), np.log(0.75), -np.inf]] * 96)
    logits = as_teacher(lambda x: rows[: len(x)], outputs="log_probabilities", classes=3)(data[0])
    assert_array_equal(logits.numpy(), rows.astype("float32"))


def test_classes_of_no_probability_are_learnt_from(data):
    def sure(x):
        return np.eye(3)[np.argmax(x[:, :3], axis=-1)]

    weights, _ = distilled(as_teacher(sure, outputs="probabilities"), data)
    hard, _ = distilled(as_teacher(lambda x: np.log(sure(x) + 1e-38), outputs="log_probabilities"), data)
    for one, other in zip(weights, hard, strict=True):
        assert_allclose(one, other, atol=1e-6)


# Distilling -----------------------------------------------------------------------------------------------------------

STEPS = {
    "plain": lambda: as_teacher(service),
    "in portions": lambda: as_teacher(service, batch_size=3),
    "flaky": lambda: as_teacher(Calls(failing=(1, 2, 4, 6, 7)), backoff=0.0),
    "log-probabilities": lambda: as_teacher(
        lambda x: keras.ops.log_softmax(x @ MATRIX).numpy(), outputs="log_probabilities"
    ),
    "probabilities": lambda: as_teacher(lambda x: keras.ops.softmax(x @ MATRIX).numpy(), outputs="probabilities"),
}


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.slow
def test_three_steps_are_those_of_the_keras_model(data, eager):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([MATRIX])
    exact, _ = distilled(model, data, run_eagerly=eager)
    for make in [STEPS["plain"]] if eager else STEPS.values():
        for one, other in zip(distilled(make(), data, run_eagerly=eager)[0], exact, strict=True):
            assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_step_is_one_call_and_a_portion_is_called_again_alone(data):
    calls = Calls(failing=(4,))
    distilled(as_teacher(calls, batch_size=3, backoff=0.0), data)
    assert calls.sizes == [2, 3, 1, 3, 3, 1, 3, 1]


# Failures -------------------------------------------------------------------------------------------------------------


def test_delays_double_up_to_a_minute_and_are_jittered():
    def fails():
        raise TimeoutError("too late")

    delays = []
    with pytest.raises(RuntimeError):
        retried(fails, 9, 0.5, "it", delays.append)
    doubled = np.minimum(0.5 * 2.0 ** np.arange(9), 60.0)
    assert np.all(np.array(delays) >= 0.5 * doubled) and np.all(np.array(delays) <= 1.5 * doubled)
    assert len(set(np.array(delays) / doubled)) == 9


def test_a_service_that_comes_back_is_waited_for(data):
    delays, calls = [], Calls(failing=(1, 2))
    teacher = CallableTeacher(calls, classes=3, backoff=0.1, sleep=delays.append)
    assert_allclose(teacher(data[0]), data[0] @ MATRIX, atol=1e-5)
    assert calls.sizes == [96] * 3 and 0.05 <= delays[0] <= 0.15 and 0.1 <= delays[1] <= 0.3


@pytest.mark.parametrize("retries", [0, 2])
def test_a_service_that_stays_away_is_named(retries):
    calls = Calls(failing=range(1, 100))
    message = (
        rf"^Expected an answer from the callable 'Calls'\. Received: ConnectionError: no line at call {retries + 1}, "
        rf"at attempt {retries + 1} of {retries + 1}\.$"
    )
    with pytest.raises(RuntimeError, match=message) as caught:
        as_teacher(calls, input_shape=(4,), retries=retries, backoff=0.0)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert len(calls.sizes) == retries + 1


def test_an_interrupt_is_no_failure():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        as_teacher(interrupted, input_shape=(4,))


def spoilt(value):
    return lambda x: np.where(np.arange(3) == 1, value, x @ MATRIX)


BAD = {
    "NaN": (spoilt(np.nan), {}, r"finite outputs from the callable 'bad'\. Received: nan at \(0, 1\)"),
    "infinite": (spoilt(np.inf), {}, "finite outputs from the callable 'bad'.*inf"),
    "-inf for a logit": (spoilt(-np.inf), {}, "finite outputs from the callable 'bad'.*-inf"),
    "inf": (spoilt(np.inf), {"outputs": "log_probabilities"}, "finite outputs from the callable 'bad'.*inf"),
    "too few rows": (lambda x: (x @ MATRIX)[1:], {}, r"outputs of shape \(\d, .*\) from the callable 'bad'.*\(\d, 3\)"),
    "a row for all": (lambda x: np.ones(3), {}, r"outputs of shape .* from the callable 'bad'.*\(3,\)"),
    "a number": (lambda x: 1.0, {}, r"outputs of shape .* from the callable 'bad'.*\(\)"),
    "nothing": (lambda x: None, {}, "an array of numbers from the callable 'bad'.*NoneType"),
    "text": (lambda x: np.full((len(x), 3), "a"), {}, "an array of numbers from the callable 'bad'"),
    "ragged": (lambda x: [[1.0], [1.0, 2.0]], {}, "an array from the callable 'bad'.*list: "),
    "other classes": (lambda x: x, {"classes": 3}, r"outputs of shape \(\d, 3\) from the callable 'bad'.*\(\d, 4\)"),
    "more dimensions": (lambda x: x[:, None, :3], {"classes": 3}, r"outputs of shape \(\d, 3\) from .*\(\d, 1, 3\)"),
    "probabilities for logits": (lambda x: np.full((len(x), 3), 1 / 3), {}, r'logits from.*outputs="probabilities"'),
    "logits for probabilities": (
        lambda x: np.full((len(x), 3), 0.5),
        {"outputs": "probabilities"},
        r"probabilities (that sum to 1 )?from.*1\.5",
    ),
    "negative probabilities": (
        lambda x: np.tile([[0.6, 0.6, -0.2]], (len(x), 1)),
        {"outputs": "probabilities"},
        "probabilities (that sum to 1 )?from",
    ),
}


def bad(case):
    function, options, message = BAD[case]

    def bad(x):
        return function(x)

    return bad, options, message


@pytest.mark.parametrize("case", [case for case in BAD if "classes" not in BAD[case][1]])
def test_bad_answers_at_construction(case):
    function, options, message = bad(case)
    with pytest.raises(ValueError, match=f"^Expected {message}"):
        as_teacher(function, input_shape=(4,), **options)


@pytest.mark.parametrize("case", [case for case in BAD if case != "probabilities for logits"])
def test_bad_answers_to_a_batch(case):
    function, options, message = bad(case)
    teacher = as_teacher(function, **{"classes": 3, **options})
    for call in (teacher, tf.function(teacher)):
        with pytest.raises(ValueError, match=f"^Expected (rows of )?{message}"), guards.explained():
            call(tf.ones((5, 4)))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("case", ["NaN", "other classes", "logits for probabilities"])
def test_bad_answers_in_training(data, case, eager):
    function, options, message = bad(case)
    teacher = as_teacher(function, **{"classes": 3, **options})
    with pytest.raises(ValueError, match=f"^Expected (rows of )?{message}"):
        distilled(teacher, data, run_eagerly=eager)


@pytest.mark.parametrize("eager", [True, False])
def test_a_service_that_stays_away_in_training(data, eager):
    calls = Calls(failing=range(3, 100))
    message = (
        r"^Expected an answer from the callable 'Calls'\. Received: ConnectionError: no line at call 5, "
        r"at attempt 3 of 3\.$"
    )
    with pytest.raises(RuntimeError, match=message):
        distilled(as_teacher(calls, input_shape=(4,), retries=2, backoff=0.0), data, run_eagerly=eager)
    assert calls.sizes == [2, 4, 4, 4, 4]


def test_classes_that_change_between_calls(data):
    calls = Calls(lambda x: x[:, : 3 if len(calls.sizes) < 3 else 2])
    with pytest.raises(ValueError, match=r"^Expected outputs of shape \(4, 3\) from the callable 'Calls'.*\(4, 2\)"):
        distilled(as_teacher(calls), data)
    assert calls.sizes == [2, 4, 4]  # A wrong answer is not asked for again.


def test_the_random_state_is_left_alone():
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    as_teacher(Calls(failing=(1, 2)), input_shape=(4,), backoff=0.0)
    assert random.random() == expected


@pytest.mark.parametrize("kind", [ValueError, FloatingPointError, RuntimeError, KeyError])
@pytest.mark.parametrize("eager", [True, False])
def test_errors_in_a_function_of_arrays_come_out_as_they_are(kind, eager):
    def fails(x):
        raise kind("Expected 'a' \"b\" [c].\nReceived: d.")

    def call(x):
        return tf.numpy_function(guards.marked(fails), [x], tf.float32)

    known = kind is not KeyError
    with pytest.raises(kind if known or eager else tf.errors.UnknownError) as caught, guards.explained():
        (call if eager else tf.function(call))(tf.zeros(2))
    if known:
        assert type(caught.value) is kind and str(caught.value) == "Expected 'a' \"b\" [c].\nReceived: d."


# Saving ---------------------------------------------------------------------------------------------------------------


def test_a_registered_function_is_saved(data, tmp_path):
    _, distiller = distilled(as_teacher(registered, batch_size=5, retries=1, backoff=0.25), data)
    distiller.save(tmp_path / "d.keras")
    teacher = keras.saving.load_model(tmp_path / "d.keras").teacher
    assert isinstance(teacher, CallableTeacher) and teacher.function is registered
    assert (teacher.batch_size, teacher.retries, teacher.backoff) == (5, 1, 0.25)
    assert teacher.outputs[0].shape == (None, 3)
    assert_array_equal(teacher(data[0]).numpy(), distiller.teacher(data[0]).numpy())


@keras.saving.register_keras_serializable(package="tests_of_foreign_teachers")
class Scaled:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return self.scale * (x @ MATRIX)

    def get_config(self):
        return {"scale": self.scale}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_a_registered_object_is_saved(data):
    teacher = as_teacher(Scaled(3.0), input_shape=(4,), name="scaled")
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(teacher))
    assert loaded.name == "scaled" and loaded.function.scale == 3.0
    assert_allclose(loaded(data[0]), 3.0 * data[0] @ MATRIX, atol=1e-5)


def test_any_other_function_says_what_to_do(data, tmp_path):
    message = r"^Expected a teacher that Keras can save: .*register_keras_serializable.*save_weights"
    for function in (service, lambda x: x @ MATRIX, Calls(), np.negative):
        with pytest.raises(ValueError, match=message):
            as_teacher(function, classes=3).get_config()
    _, distiller = distilled(as_teacher(service), data)
    with pytest.raises(ValueError, match=message):
        distiller.save(tmp_path / "d.keras")
    distiller.save_weights(tmp_path / "d.weights.h5")
    distiller.student.save(tmp_path / "s.keras")


@pytest.mark.parametrize("how", ["predict", "predict_on_batch", "a function", "a signature"])
def test_what_would_wait_for_ever_on_one_thread_is_refused(data, how):
    assert arrays._pool_has_one_thread()  # As tests/conftest.py has it.
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    compiled = tf.function(model)
    calls = {
        "predict": lambda x: model.predict(x, verbose=0),
        "predict_on_batch": model.predict_on_batch,
        "a function": lambda x: compiled(x).numpy(),
        "a signature": lambda x: compiled.get_concrete_function(tf.TensorSpec((None, 4)))(tf.constant(x)).numpy(),
    }
    teacher, x = as_teacher(calls[how]), data[0]
    assert_allclose(teacher(x), model(x), atol=1e-6)  # Outside a step it has the thread.
    with pytest.raises(RuntimeError, match=r"single thread\. Received: .* Call the model"), guards.explained():
        tf.function(teacher)(x)
    assert_allclose(tf.function(as_teacher(lambda x: model(x).numpy()))(x), model(x), atol=1e-6)
