"""Chains and generations: who teaches whom, and that a student that teaches no longer changes."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill.stages import born_again, chain, momentum_teacher

HARD = "sparse_categorical_crossentropy"


class Train:
    """Train each stage for an epoch, and record its distiller and the weights of its student."""

    def __init__(self, data):
        self.data, self.distillers, self.stages, self.weights = data, [], [], []

    def __call__(self, distiller, stage):
        distiller.compile(keras.optimizers.SGD(0.5), HARD, run_eagerly=True)
        distiller.fit(*self.data, batch_size=len(self.data[0]), verbose=0)
        self.distillers.append(distiller)
        self.stages.append(stage)
        self.weights.append(distiller.student.get_weights())


@pytest.fixture
def train(data):
    return Train(data)


def changed(before, after):
    return [np.abs(one - other).max() > 0 for one, other in zip(before, after, strict=True)]


def test_each_student_teaches_the_next(mlp, train):
    teacher, students = mlp(32), [mlp(16), mlp(8), mlp(4)]
    initial = [student.get_weights() for student in students]
    trained = chain(teacher, students, train)
    assert trained == students and train.stages == [0, 1, 2]
    assert [distiller.student for distiller in train.distillers] == students
    assert [distiller.teacher for distiller in train.distillers] == [teacher, *students[:2]]
    for student, old, then in zip(students, initial, train.weights, strict=True):
        assert all(changed(old, then)) and not any(changed(then, student.get_weights()))


def test_a_stage_is_a_distillation_from_the_trained_assistant(mlp, train, data):
    assistant, student = mlp(8), mlp(4)
    copy = momentum_teacher(student)
    chain(mlp(16), [assistant, student], train, student_loss_weight=0.2)
    distiller = kd.Distiller(assistant, copy, "kd", student_loss_weight=0.2)
    Train(data)(distiller, 0)
    for one, other in zip(student.get_weights(), copy.get_weights(), strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_losses_and_weights_by_stage(mlp, train):
    temperatures = [8.0, 2.0]

    def losses(stage):
        return kd.losses.LogitsDistillation(temperatures[stage])

    chain(mlp(16), [mlp(8), mlp(4)], train, losses, student_loss_weight=lambda stage: 0.25 * (stage + 1))
    assert [distiller.temperature for distiller in train.distillers] == temperatures
    assert [distiller.student_loss_weight for distiller in train.distillers] == [0.25, 0.5]


def test_a_loss_object_is_copied_for_each_stage(mlp, train):
    loss = kd.losses.FeatureDistillation(teacher_layer_name="hidden", student_layer_name="hidden")
    chain(mlp(16), [mlp(8), mlp(4)], train, ["kd", loss], distillation_loss_weights=[1.0, 0.5])
    used = [distiller.distillation_losses[1] for distiller in train.distillers]
    assert len({id(each) for each in (loss, *used)}) == 3
    shapes = [distiller.objective.adapters[1].trainable_variables[0].shape for distiller in train.distillers]
    assert [tuple(shape) for shape in shapes] == [(8, 16), (4, 8)]


def test_each_generation_is_taught_by_the_one_before(mlp, train):
    teacher = mlp(8)
    generations = born_again(lambda: mlp(8), 3, train, teacher=teacher)
    assert [distiller.student for distiller in train.distillers] == generations
    assert [distiller.teacher for distiller in train.distillers] == [teacher, *generations[:2]]
    assert [distiller.student_loss_weight for distiller in train.distillers] == [0.5] * 3
    for generation, then in zip(generations, train.weights, strict=True):
        assert not any(changed(then, generation.get_weights()))
    assert all(changed(generations[0].get_weights(), generations[1].get_weights()))


def test_without_a_teacher_the_first_generation_learns_from_hard_labels_alone(mlp, train, data):
    made, copies = [], []

    def student():
        made.append(mlp(8))
        copies.append(momentum_teacher(made[-1]))
        return made[-1]

    generations = born_again(student, 2, train, student_loss_weight=lambda generation: 0.1 * generation)
    assert [distiller.student_loss_weight for distiller in train.distillers] == [1.0, 0.1]
    assert train.distillers[0].teacher not in generations
    assert train.distillers[1].teacher is generations[0]
    alone = copies[made.index(generations[0])]
    alone.compile(
        keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    alone.fit(*data, batch_size=len(data[0]), verbose=0)
    for one, other in zip(generations[0].get_weights(), alone.get_weights(), strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_generations_make_an_ensemble(mlp, train, data):
    generations = born_again(lambda: mlp(8), 2, train, teacher=mlp(8))
    soft = keras.ops.softmax(kd.teachers.Ensemble(generations)(data[0]))
    each = [keras.ops.softmax(generation(data[0])) for generation in generations]
    assert_allclose(soft, (each[0] + each[1]) / 2, rtol=1e-5)


def test_a_momentum_teacher_is_an_equal_copy(data):
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    student = keras.Sequential([keras.Input((4,)), *layers])
    student.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    student.fit(*data, verbose=0)
    teacher = momentum_teacher(student)
    assert_array_equal(teacher(data[0]), student(data[0]))
    assert not {id(weight) for weight in teacher.weights} & {id(weight) for weight in student.weights}
    with pytest.raises(ValueError, match="Expected student to be a built keras.Model"):
        momentum_teacher(keras.Sequential([keras.layers.Dense(3)]))


def refuse(distiller, stage):
    raise AssertionError("nothing should be trained")


def test_bad_chains_are_refused_before_anything_is_trained(mlp):
    teacher, student = mlp(8), mlp(4)
    with pytest.raises(ValueError, match=r"Expected students to be a list of at least 1\. Received: students=\[\]"):
        chain(teacher, [], refuse)
    with pytest.raises(ValueError, match="Expected students that are different models"):
        chain(teacher, [student, mlp(4), student], refuse)
    with pytest.raises(ValueError, match="Expected a teacher that is not among the students"):
        chain(teacher, [student, teacher], refuse)
    with pytest.raises(ValueError, match="Expected teacher and student inputs of the same shapes"):
        chain(teacher, [student, mlp(4, features=5)], refuse)
    with pytest.raises(ValueError, match="Expected train to be a function"):
        chain(teacher, [student], None)
    assert teacher.trainable


def test_bad_generations_are_refused(mlp):
    for generations in (0, 1.5, True):
        with pytest.raises(ValueError, match="Expected generations to be a whole number >= 1"):
            born_again(mlp, generations, refuse)
    with pytest.raises(ValueError, match="Expected student_factory to be a function that returns a new model"):
        born_again(mlp(4), 2, refuse)
    same = mlp(4)
    with pytest.raises(ValueError, match="Expected students that are different models"):
        born_again(lambda: same, 2, refuse, teacher=mlp(8))
