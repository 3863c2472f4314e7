"""Train in order: the teacher, the candidates on the validation split, then the students seed by seed."""

import statistics

import keras_distill as kd
from benchmarks.answers import accuracy
from benchmarks.cifar10_losses import ALONE
from benchmarks.cifar10_pairs import nets
from benchmarks.cifar10_pairs.training import FEATURES, KD, student_of, teacher_of

TEACHER, CHOSEN = "teacher", 3
CHOICE_SEED = 100  # None of those that are reported.


def prepare(data_dir, settings, kept):
    """Train the teacher, and choose the feature losses on the validation split."""
    data = kd.data.load("cifar10", data_dir)
    teacher = kept.model(TEACHER, lambda: teacher_of(data, settings))
    for method in FEATURES:
        for name in nets.STUDENTS:
            kept.facts(_tried(name, method), lambda pair=(name, method): _try(pair, teacher, data, settings))


def _try(pair, teacher, data, settings):
    student = student_of(*pair, teacher, data, settings.choice, settings, CHOICE_SEED)
    return {"validation_accuracy": accuracy(student, data.validation)}


def choice(kept):
    """Return what each candidate reached on the validation split, a dict of method to accuracies by student."""
    return {
        method: {name: kept.facts(_tried(name, method))["validation_accuracy"] for name in nets.STUDENTS}
        for method in FEATURES
    }


def methods(tried):
    """Return what is reported: alone, kd and the feature losses that did best, by the mean over the students."""
    best = sorted(tried, key=lambda method: -statistics.mean(tried[method].values()))
    return [ALONE, KD, *best[:CHOSEN]]


def train(data_dir, settings, kept, seed):
    """Train the students of one seed."""
    data, teacher = kd.data.load("cifar10", data_dir), kept.model(TEACHER)
    for method in methods(choice(kept)):
        for name in nets.STUDENTS:
            kept.model(
                student_name(seed, name, method),
                lambda pair=(name, method): student_of(*pair, teacher, data, settings.student, settings, seed),
            )


def student_name(seed, name, method):
    """Return the name that a net is kept by."""
    return f"seed-{seed}/{name}_{method}"


def _tried(name, method):
    return f"choice/{name}_{method}"
