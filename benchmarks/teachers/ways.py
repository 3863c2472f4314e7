"""Ways to teach one small student on images of which only a few have labels."""

import dataclasses
import statistics

import keras
import numpy as np

import keras_distill as kd
from benchmarks.teachers.cost import multiply_adds, one_thread, timed

HARD = "sparse_categorical_crossentropy"
COMPILED = {"jit_compile": False, "steps_per_execution": 10}
ALONE, TOGETHER = "one teacher, a plain student", "ensemble of five"


@dataclasses.dataclass(frozen=True)
class Budget:
    """Say how long a net is trained, and how fast: Adam, at a rate that falls to 0 along half a cosine."""

    steps: int
    batch_size: int
    learning_rate: float


@dataclasses.dataclass(frozen=True)
class Setup:
    """Hold what was chosen on the validation split."""

    images: int = 55_000
    labelled: int = 1_000
    members: int = 5
    alone: Budget = Budget(1_500, 64, 8e-3)
    distilled: Budget = Budget(2_150, 128, 4e-3)
    temperature: float = 2.0
    unlabelled_share: float = 0.9

    def quickened(self):
        """Return a small one, which shows that everything runs and nothing else."""
        budgets = {name: dataclasses.replace(getattr(self, name), steps=100) for name in ("alone", "distilled")}
        return dataclasses.replace(self, images=6_400, members=2, **budgets)


class Task:
    """Hold the training images of one seed, of which a few have labels, as arguments of `fit`.

    Args:
        train: Pair `(x, y)`.
        setup: A `Setup`.
        seed: Seed of which images have labels, and of the order in `mixed`.
    """

    def __init__(self, train, setup, seed):
        order = np.random.default_rng(seed).permutation(len(train[1]))
        x, y = (each[order] for each in train)
        known, unknown = (x[: setup.labelled], y[: setup.labelled]), x[setup.labelled :]
        size = setup.distilled.batch_size
        self.labelled, self.unlabelled, self.everything = known, (unknown,), (x,)
        self.mixed = (kd.data.mix(known, unknown, setup.unlabelled_share, batch_size=size, seed=seed),)


def net(seed, width=1):
    """Build the student, 57 thousand parameters, or one of so many times its widths."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16 * width, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32 * width, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64 * width, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def train(model, transfer, budget, loss=None, metrics=None, **options):
    """Compile and fit a net, a `Distiller` or a `MutualLearning`; further options are those of `fit`."""
    batches = not isinstance(transfer[0], np.ndarray)
    steps = len(transfer[0]) if batches else -(-len(transfer[0]) // budget.batch_size)
    epochs = max(1, round(budget.steps / steps))
    decay = keras.optimizers.schedules.CosineDecay(budget.learning_rate, epochs * steps)
    model.compile(keras.optimizers.Adam(decay), loss, metrics=metrics, **COMPILED)
    size = None if batches else budget.batch_size
    model.fit(*transfer, batch_size=size, epochs=epochs, verbose=0, **options)


def alone(task, setup, seed):
    """Train a net by the labels that there are."""
    model = net(seed)
    train(model, task.labelled, setup.alone, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def taught(teacher, transfer, setup, seed, loss=None, budget=None):
    """Train a net by a teacher's soft targets, and by labels where there is a loss for them."""
    student = net(seed)
    train(kd.Distiller(teacher, student, soft(setup)), transfer, budget or setup.distilled, loss)
    return student


def taught_by_assistant(teacher, transfer, setup, seed):
    """Train an assistant of twice the widths by a teacher's soft targets, and a net by the assistant's."""
    assistant, student = net(seed + 1, width=2), net(seed)

    def stage(distiller, _):
        train(distiller, transfer, setup.distilled)

    kd.stages.chain(teacher, [assistant, student], stage, soft(setup))
    return student


def mutual(transfer, setup, seed):
    """Train two nets by the labels that there are and by each other."""
    students = [net(seed), net(seed + 1)]
    train(kd.stages.MutualLearning(students, soft(setup)), transfer, setup.distilled, HARD)
    return students


def soft(setup):
    """Return the loss on soft targets."""
    return kd.losses.LogitsDistillation(temperature=setup.temperature)


def ways(task, setup, seed):
    """Train every way once. Yield its name, its nets, what each should agree with, and its seconds of processor."""
    seeds = [1_000 * seed + number for number in range(setup.members + 1)]
    members, seconds = zip(*(timed(alone, task, setup, each) for each in seeds[:-1]), strict=True)
    one, five = members[0], kd.teachers.Ensemble(members)
    yield ALONE, members, (), statistics.mean(seconds)
    yield TOGETHER, [five], (), sum(seconds)
    for name, teacher, transfer, *more in (
        ("student of one", one, task.everything),
        ("student of five", five, task.everything),
        ("student of five, unlabelled images only", five, task.unlabelled),
        ("student of five, 10 % with labels", five, task.mixed, HARD),
        ("student of five, labelled images only", five, task.labelled, HARD, setup.alone),
    ):
        student, seconds = timed(taught, teacher, transfer, setup, seeds[-1], *more)
        yield name, [student], [teacher], seconds
    student, seconds = timed(taught_by_assistant, five, task.everything, setup, seeds[-1])
    yield "student of five by an assistant", [student], [five], seconds
    students, seconds = timed(mutual, task.mixed, setup, seeds[-1])
    yield "two mutual learners", students, students[::-1], seconds


def measure(data, setup, seed, split="test"):
    """Train every way once on the training split and read another one.

    Args:
        data: A `kd.data.Data` of images `[samples, 28, 28, 1]`.
        setup: A `Setup`.
        seed: Seed of everything.
        split: Split that the figures are of. Defaults to `"test"`.

    Returns:
        Dict from row to a dict of accuracy and agreement from 0 to 1 (`None` where there is nothing to agree with),
        seconds and multiply-adds.
    """
    x, y = getattr(data, split)
    rows = {}
    for name, models, others, seconds in ways(Task(data.train, setup, seed), setup, seed):
        outputs, expected = ([model.predict(x, 500, verbose=0) for model in each] for each in (models, others))
        correct = [float(np.mean(np.argmax(output, -1) == y)) for output in outputs]
        agreement = list(map(kd.metrics.agreement, expected, outputs))
        rows[name] = {
            "accuracy": statistics.mean(correct),
            "agreement": statistics.mean(agreement) if agreement else None,
            "seconds": seconds,
            "multiply_adds": multiply_adds(models[0]),
        }
        print(f"seed {seed}  {name:42}{rows[name]['accuracy']:8.2%}{seconds:8.1f} s", flush=True)
    return rows


def measure_seed(data_dir, setup, seed, split):
    """Load the data in a process of its own, and `measure` one seed."""
    one_thread()
    return measure(kd.data.load("mnist", data_dir).first(setup.images), setup, seed, split)
