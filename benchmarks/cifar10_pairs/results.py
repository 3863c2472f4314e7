"""Evaluate every net that is kept on the test split, and make the table."""

import numpy as np

import keras_distill as kd
from benchmarks import tables
from benchmarks.answers import classes_of
from benchmarks.cifar10_losses import ALONE
from benchmarks.cifar10_pairs import nets
from benchmarks.cifar10_pairs.stages import TEACHER, choice, methods, student_name
from benchmarks.teachers.cost import multiply_adds

COLUMNS = ["net, method", "parameters", "multiply-adds", "test, %", "beside alone", "agreement, %", "seeds"]


def measure(data_dir, settings, kept, seeds):
    """Read the test split with every net that is kept: accuracy, and agreement with the teacher."""
    x, y = kd.data.load("cifar10", data_dir).test
    teacher, tried = kept.model(TEACHER), choice(kept)
    said, students = classes_of(teacher, x), {}

    def read(seed, net):
        answer = classes_of(kept.model(net), x)
        right, agreed = (float(np.mean(answer == other)) for other in (y, said))
        return {"seed": seed, "accuracy": right, "agreement": agreed, **kept.facts(net)}

    for name, build in nets.STUDENTS.items():
        found = {}
        for method in methods(tried):
            names = {seed: student_name(seed, name, method) for seed in seeds}
            found[method] = [read(seed, net) for seed, net in names.items() if net in kept]
        students[name] = {**_cost(build()), "methods": found}
    own = {**_cost(teacher), "accuracy": float(np.mean(said == y))}
    return {"teacher": own, "choice": tried, "students": students}


def rows(results):
    """Make the rows of the table: means over the seeds that there are, with their standard deviations."""
    made = [_row(TEACHER, results["teacher"], [results["teacher"]["accuracy"]])]
    for name, student in results["students"].items():
        alone = {each["seed"]: each["accuracy"] for each in student["methods"][ALONE]}
        for method, found in student["methods"].items():
            accuracy, agreement = ([each[key] for each in found] for key in ("accuracy", "agreement"))
            # Seed by seed: two methods of one seed began alike and saw the same.
            gains = [each["accuracy"] - alone[each["seed"]] for each in found if each["seed"] in alone]
            if found:
                made.append(_row(f"{name}, {method}", student, accuracy, gains if method != ALONE else (), agreement))
    return made


def _row(title, cost, accuracy, gains=(), agreement=()):
    beside = tables.spread(gains, sign="+") if gains else ""
    numbers = f"{cost['parameters']:,}", f"{cost['multiply_adds']:,}"
    last = tables.spread(agreement) if agreement else "", str(len(accuracy))
    return [title, *numbers, tables.spread(accuracy), beside, *last]


def _cost(model):
    return {"parameters": model.count_params(), "multiply_adds": multiply_adds(model)}
