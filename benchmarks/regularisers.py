"""Repeat section 6 of Hinton, Vinyals, Dean 2015 in small, on MNIST: soft targets as regularisers, 3 % of the data.

    python -m benchmarks.regularisers --data-dir FOLDER [--work FOLDER] [--seeds 3] [--processes 3] [--quick]
    python -m benchmarks.regularisers --table                                 the JSON file as Markdown

The paper's nets are speech models of one architecture: trained on all frames with hard labels, on 3 % of them with
hard labels, where training is stopped early, and on the same 3 % with the soft targets of the first, which needs no
stopping. Here all nets are convolutional ones of 57 thousand parameters (`benchmarks.teachers.ways.net`), and 3 % are
1,650 of 55,000 training digits, drawn by the seed.

all labels              hard labels of all digits; the teacher of the soft targets
3 %, hard labels        stopped early: the weights of the epoch with the best validation accuracy; and, as a row of its
                        own, the weights of the last epoch
3 %, soft targets       those of the teacher alone, without labels, to the last epoch; computed once and stored

Train accuracy is measured on the digits that a net was trained on. The teacher has learnt from the labels of all
digits: its soft targets for the 3 % carry what it knows about the others, which is the point of the paper's experiment
and of this one. The validation split has 5,000 labelled digits, more than the 1,650 that the students learn from, so
early stopping has more labels here than it would have in practice.

Steps, batch size and learning rates were not tuned, and are the same for all students. The temperature is the one in
`TEMPERATURES` with the best validation accuracy for seed 100, which is not among the reported seeds. The test split is
read at the end, by the nets that are kept.

Cost        1.5 minutes of processor time per seed, and as much for the choice; --quick: 2 minutes in all
Expected    test accuracy, three seeds: all labels 98.95 ± 0.04 %; of 3 %, hard labels stopped early 95.31 ± 0.45 %, to
            the end 95.16 ± 0.43 %, soft targets 98.07 ± 0.07 %. Temperature 8 was chosen, the highest that was tried:
            98.0 % of the validation split, where 1, 2 and 4 had 96.0, 97.2 and 97.6 %
"""

import dataclasses
import itertools

import keras
import numpy as np

import keras_distill as kd
from benchmarks import tables
from benchmarks.answers import accuracy
from benchmarks.asked_once import asked_once
from benchmarks.by_seed import Benchmark
from benchmarks.teachers import ways

ALL, EARLY, LAST, SOFT = (
    "all labels",
    "3 %, hard labels, stopped early",
    "3 %, hard labels, to the end",
    "3 %, soft targets",
)
PUBLISHED = {ALL: (63.4, 58.9), EARLY: (67.3, 44.5), SOFT: (65.4, 57.0)}
COLUMNS = ["trained on", "published: train, %", "test, %", "here: train, %", "test, %"]
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
CHOICE_SEED = 100


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hold the budgets, `benchmarks.teachers.ways.Budget`s: Adam, at a rate that falls to 0 along half a cosine."""

    images: int = 55_000
    share: float = 0.03
    everything: ways.Budget = ways.Budget(2_150, 128, 4e-3)
    few: ways.Budget = ways.Budget(1_500, 64, 4e-3)

    def quickened(self):
        """Return a small form, which shows that everything runs and nothing else."""
        budgets = {name: dataclasses.replace(getattr(self, name), steps=100) for name in ("everything", "few")}
        return dataclasses.replace(self, images=6_400, **budgets)


def prepare(data_dir, settings, kept):
    """Choose the temperature: train a student at each, and read the validation split."""
    data = kd.data.load("mnist", data_dir).first(settings.images)
    teacher = _baseline(data, settings, kept, CHOICE_SEED)
    for temperature in TEMPERATURES:

        def find(temperature=temperature):
            student = by_soft_targets(teacher, data, settings, temperature, CHOICE_SEED)
            return {"validation_accuracy": accuracy(student, data.validation)}

        kept.facts(_tried(temperature), find)


def train(data_dir, settings, kept, seed):
    """Train the nets of one seed."""
    data = kd.data.load("mnist", data_dir).first(settings.images)
    teacher, temperature = _baseline(data, settings, kept, seed), chosen(choice(kept))
    for name, make in (
        (EARLY, lambda: by_labels(data, settings, seed, stop=True)),
        (LAST, lambda: by_labels(data, settings, seed)),
        (SOFT, lambda: by_soft_targets(teacher, data, settings, temperature, seed)),
    ):
        kept.model(_name(seed, name), make)


def few(data, settings, seed):
    """Return the digits that there are labels of, `(x, y)`."""
    x, y = data.train
    rows = np.random.default_rng(seed).permutation(len(y))[: round(settings.share * len(y))]
    return x[rows], y[rows]


def by_labels(data, settings, seed, stop=False):
    """Train a net on the few digits with labels; go back to the epoch that did best on the validation split, or not."""
    model, options = ways.net(seed), {}
    if stop:
        # Patient to the end: stopping early, yet never too early.
        best = keras.callbacks.EarlyStopping("val_accuracy", patience=10**6, restore_best_weights=True)
        options = {"callbacks": [best], "validation_data": data.validation, "validation_batch_size": 500}
    ways.train(model, few(data, settings, seed), settings.few, _hard_labels(), ["accuracy"], **options)
    return model


def by_soft_targets(teacher, data, settings, temperature, seed):
    """Train a net on what a teacher, asked once, says of the few digits."""
    x, size = few(data, settings, seed)[0], settings.few.batch_size
    student, loss = ways.net(seed), kd.losses.LogitsDistillation(temperature=temperature)
    with asked_once(teacher, x, temperature, size, seed) as (store, batches):
        ways.train(kd.Distiller(store, student, loss), (batches,), settings.few)
    return student


def choice(kept):
    """Return what each temperature reached on the validation split."""
    return {temperature: kept.facts(_tried(temperature))["validation_accuracy"] for temperature in TEMPERATURES}


def chosen(tried):
    """Return the temperature that did best."""
    return max(tried, key=tried.get)


def measure(data_dir, settings, kept, seeds):
    """Read the test split with every seed that is complete; return both accuracies of each row, seed by seed."""
    data, tried = kd.data.load("mnist", data_dir).first(settings.images), choice(kept)
    found = {name: {"train": [], "test": []} for name in (ALL, EARLY, LAST, SOFT)}
    complete = [seed for seed in seeds if _name(seed, SOFT) in kept]
    for seed, name in itertools.product(complete, found):
        model = kept.model(_name(seed, name))
        learnt_from = data.train if name == ALL else few(data, settings, seed)
        found[name]["train"].append(accuracy(model, learnt_from))
        found[name]["test"].append(accuracy(model, data.test))
    return {"choice": tried, "temperature": chosen(tried), "seeds": complete, "accuracy": found}


def rows(results):
    """Make the rows of the table: means over the seeds, with their standard deviations."""
    made = []
    for name, found in results["accuracy"].items():
        published = [f"{value}" for value in PUBLISHED.get(name, ("", ""))]
        made.append([name, *published, *(tables.spread(found[split], digits=2) for split in ("train", "test"))])
    return made


def _baseline(data, settings, kept, seed):
    def train():
        model = ways.net(seed)
        ways.train(model, data.train, settings.everything, _hard_labels())
        return model

    return kept.model(_name(seed, ALL), train)


def _hard_labels():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _name(seed, name):
    return f"seed-{seed}/{name.replace(' ', '_').replace(',', '').replace('%', 'percent')}"


def _tried(temperature):
    return f"choice/temperature-{temperature:g}"


BENCHMARK = Benchmark("regularisers", Settings(), train, measure, COLUMNS, rows, prepare)

if __name__ == "__main__":
    BENCHMARK.main(__doc__)
