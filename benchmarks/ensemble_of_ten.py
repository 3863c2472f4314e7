"""Repeat section 4 of Hinton, Vinyals, Dean 2015 in small, on MNIST: how much of an ensemble of ten can one net keep?

    python -m benchmarks.ensemble_of_ten --data-dir FOLDER [--work FOLDER] [--processes 3] [--quick]
    python -m benchmarks.ensemble_of_ten --table                              the JSON file as Markdown

The paper compares a speech model of 85 million weights, ten such models from different initial weights, and one that
learns from the ten. They classify 58.9, 61.1 and 60.8 % of frames correctly, so one net keeps 86 % of the improvement.
Here all nets have 57 thousand weights. The ten learn from 1,000 labelled digits, and one net learns from their soft
targets, without labels, on all 55,000. The paper's student saw the same data as the ten; here it sees 54,000 digits
that they never saw, as in problems where labels are expensive. "One net taught by one" shows what these digits bring
without an ensemble.

The set-up is that of `benchmarks.teachers`, chosen there on the validation split with five members; nothing was chosen
for ten. The soft targets of all ten are computed once and stored. Nets are kept in the folder of `--work`, from which
an interrupted run resumes. The test split is read at the end, by the nets that are kept.

Cost        4 minutes of processor time per seed; --quick: 1 minute, with figures that mean nothing
Expected    test accuracy, three seeds: one net alone 93.45 ± 0.11 %, ensemble of ten 94.43 ± 0.11 %, one net taught by
            ten 94.35 ± 0.07 %, which is 0.92 of the improvement (the paper: 0.86); taught by one, 93.85 ± 0.33 %, which
            is 0.40 of it
"""

import dataclasses
import statistics

import keras_distill as kd
from benchmarks import tables
from benchmarks.answers import accuracy
from benchmarks.asked_once import asked_once
from benchmarks.by_seed import Benchmark
from benchmarks.teachers import ways

ALONE, TOGETHER, BY_ONE, BY_TEN = "one net alone", "ensemble of ten", "one net taught by one", "one net taught by ten"
PUBLISHED = {ALONE: 58.9, TOGETHER: 61.1, BY_TEN: 60.8}
COLUMNS = ["net", "published, % of frames", "here, % of digits", "share of the improvement kept"]


def train(data_dir, setup, kept, seed):
    """Train the nets of one seed."""
    task = ways.Task(kd.data.load("mnist", data_dir).first(setup.images).train, setup, seed)
    for number in range(setup.members):
        kept.model(_member(seed, number), lambda each=1_000 * seed + number: ways.alone(task, setup, each))
    for name, teacher in teachers(kept, setup, seed).items():
        last = 1_000 * seed + setup.members
        kept.model(_student(seed, name), lambda teacher=teacher: taught(teacher, task, setup, last))


def teachers(kept, setup, seed):
    """Return who teaches each student: the first member, and all of them."""
    members = [kept.model(_member(seed, number)) for number in range(setup.members)]
    return {BY_ONE: members[0], BY_TEN: kd.teachers.Ensemble(members)}


def taught(teacher, task, setup, seed):
    """Train a net on what a teacher, asked once, says of all digits."""
    x, size = task.everything[0], setup.distilled.batch_size
    with asked_once(teacher, x, setup.temperature, size, seed) as (store, batches):
        return ways.taught(store, (batches,), setup, seed)


def measure(data_dir, setup, kept, seeds):
    """Read the test split with every seed that is complete; return the accuracies of each row, seed by seed."""
    data, found = kd.data.load("mnist", data_dir), {}
    for seed in seeds:
        if _student(seed, BY_TEN) not in kept:
            continue
        ensemble = teachers(kept, setup, seed)[BY_TEN]
        members = [accuracy(member, data.test) for member in ensemble.members]
        rows = {ALONE: statistics.mean(members), TOGETHER: accuracy(ensemble, data.test)}
        rows |= {name: accuracy(kept.model(_student(seed, name)), data.test) for name in (BY_ONE, BY_TEN)}
        for name, value in rows.items():
            found.setdefault(name, []).append(value)
    return {"accuracy": found}


def share_kept(found, name):
    """Return which share of the ensemble's improvement over one net a student has, of the means over the seeds."""
    alone, together, student = (statistics.mean(found[row]) for row in (ALONE, TOGETHER, name))
    return (student - alone) / (together - alone)


def rows(results):
    """Make the rows of the table: means over the seeds, with their standard deviations."""
    found = results["accuracy"]
    return [
        [
            name,
            str(PUBLISHED.get(name, "")),
            tables.spread(values, digits=2),
            f"{share_kept(found, name):.2f}" if name in (BY_ONE, BY_TEN) else "",
        ]
        for name, values in found.items()
    ]


def _member(seed, number):
    return f"seed-{seed}/member-{number}"


def _student(seed, name):
    return f"seed-{seed}/{name.replace(' ', '_')}"


SETUP = dataclasses.replace(ways.Setup(), members=10)
BENCHMARK = Benchmark("ensemble_of_ten", SETUP, train, measure, COLUMNS, rows)

if __name__ == "__main__":
    BENCHMARK.main(__doc__)
