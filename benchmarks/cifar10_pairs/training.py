"""Train one teacher, and students alone or by one method, all on the same augmented images."""

import dataclasses

import keras

import keras_distill as kd
from benchmarks.cifar10_losses import ALONE, FORMS, WEIGHTS
from benchmarks.cifar10_pairs import nets

COMPILED = {"jit_compile": False}
KD = "kd"
FEATURES = ("fitnet", "at", "sp", "pkt", "rkd", "reviewkd_hcl")


@dataclasses.dataclass(frozen=True)
class Budget:
    """Say on how many pictures a net is trained, and how often it sees them."""

    images: int
    epochs: int


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hold the budgets, and what all trainings share; none of it was tuned.

    Attributes:
        teacher: `Budget` of the teacher.
        student: Of each student.
        choice: Of each student on whose validation accuracy the three feature losses are chosen.
        learning_rate: Of Adam; it falls to 0 along half a cosine.
        temperature: Of the soft targets of `kd`.
        hard_weight: Weight of the hard labels beside the soft targets of `kd`; the other methods' is 0.5.
    """

    teacher: Budget = Budget(20_000, 6)
    student: Budget = Budget(10_000, 8)
    choice: Budget = Budget(5_000, 3)
    batch_size: int = 128
    learning_rate: float = 4e-3
    shift: int = 3
    flip: bool = True
    temperature: float = 4.0
    hard_weight: float = 0.1

    def quickened(self):
        """Return a small form, which shows that everything runs and nothing else."""
        return dataclasses.replace(self, **dict.fromkeys(("teacher", "student", "choice"), Budget(640, 1)))


def teacher_of(data, settings):
    """Train the one teacher that all students share."""
    keras.utils.set_random_seed(0)
    model = nets.teacher()
    fit(model, data, settings.teacher, settings, 0, _hard_labels())
    return model


def student_of(name, method, teacher, data, budget, settings, seed):
    """Train a student.

    Args:
        name: Name in `nets.STUDENTS`.
        method: `ALONE`, `KD` or one of `FEATURES`.
        teacher: The teacher.
        data: A `kd.data.Data`, whose training split alone is looked at.
        budget: A `Budget`.
        settings: A `Settings`.
        seed: Seed of weights, order and moves: what two methods see is the same.

    Returns:
        The trained student.
    """
    keras.utils.set_random_seed(seed)
    student = nets.STUDENTS[name]()
    if method == ALONE:
        fit(student, data, budget, settings, seed, _hard_labels())
        return student
    if method == KD:
        losses, weight = kd.losses.LogitsDistillation(temperature=settings.temperature), settings.hard_weight
        distiller = kd.Distiller(teacher, student, losses, student_loss_weight=weight)
    else:
        losses = kd.losses.get(method, **({"form": FORMS[method]} if method in FORMS else {}))
        distiller = kd.Distiller(teacher, student, losses, [WEIGHTS.get(method, 1.0)])
    fit(distiller, data, budget, settings, seed, "sparse_categorical_crossentropy")
    return student


def fit(model, data, budget, settings, seed, loss):
    """Compile and fit a model on moved and mirrored pictures."""
    x, y = (part[: budget.images] for part in data.train)
    batches = kd.data.Batches(x, y, settings.batch_size, seed, settings.shift, settings.flip)
    steps = len(batches) * budget.epochs
    decay = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(keras.optimizers.Adam(decay), loss, **COMPILED)
    model.fit(batches, epochs=budget.epochs, shuffle=False, verbose=0)


def _hard_labels():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
