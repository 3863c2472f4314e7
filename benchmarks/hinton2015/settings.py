"""Settings of all trainings, chosen on the validation split, see `choices`."""

import dataclasses

DIGITS = tuple(range(10))
WIDTHS = (300, 30)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Say how long a net is trained, and how fast: Adam, at a rate that falls to 0 along half a cosine."""

    epochs: int
    learning_rate: float = 1e-3
    batch_size: int = 250


@dataclasses.dataclass(frozen=True)
class Student:
    """Say what a student is and what it learns from.

    Attributes:
        schedule: A `Schedule`.
        width: Units in each of the two hidden layers. Defaults to 800.
        temperature: Temperature of the soft targets. Defaults to `None`, hard labels alone.
        digits: Classes in the transfer set. Defaults to all.
        corrected: Classes whose bias is corrected on the validation split, which is then no part of the transfer set.
            Defaults to none.
        hard_weight: Weight, from 0 to 1, of the hard labels beside the soft targets. Defaults to 0.0.
    """

    schedule: Schedule
    width: int = 800
    temperature: float | None = None
    digits: tuple = DIGITS
    corrected: tuple = ()
    hard_weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hold what was chosen.

    Attributes:
        samples: Training digits, those for validation aside. Defaults to `None`, all 55,000.
        everything: Whether the validation split, having chosen, is learnt from as well. Defaults to `True`.
        teacher: `Schedule` of the teacher.
        alone: Of the student with hard labels.
        distilled: Of the student with soft targets.
        without: Of the student that never sees a 3.
        few: Of the student that sees 7s and 8s only.
        narrow: Of the students of each width.
        temperature: Temperature of the student that sees every digit. Defaults to 8.0.
        partial_temperature: Of those that see some classes only. Defaults to 20.0.
        temperatures: Temperatures of the students of each width.
    """

    samples: int | None = None
    everything: bool = True
    teacher: Schedule = Schedule(80)
    alone: Schedule = Schedule(20)
    distilled: Schedule = Schedule(60)
    without: Schedule = Schedule(40)
    few: Schedule = Schedule(60)
    narrow: dict = dataclasses.field(default_factory=lambda: {30: Schedule(40), 300: Schedule(30)})
    temperature: float = 8.0
    partial_temperature: float = 20.0
    temperatures: dict = dataclasses.field(
        default_factory=lambda: {30: (1.0, 2.5, 3.0, 4.0, 8.0, 12.0, 20.0), 300: (2.5, 8.0, 20.0, 40.0)}
    )

    def quickened(self):
        """Return a form of a minute or two, which shows that everything runs; its figures say nothing."""
        names = ("teacher", "alone", "distilled", "without", "few")
        schedules = {name: dataclasses.replace(getattr(self, name), epochs=2) for name in names}
        narrow = {width: dataclasses.replace(each, epochs=2) for width, each in self.narrow.items()}
        temperatures = {width: each[::3] for width, each in self.temperatures.items()}
        return dataclasses.replace(self, samples=10_000, narrow=narrow, temperatures=temperatures, **schedules)

    def students(self):
        """Return every student of one seed, a dict of name to `Student`."""
        no_3 = tuple(digit for digit in DIGITS if digit != 3)
        found = {
            "hard labels": Student(self.alone),
            "soft targets": Student(self.distilled, temperature=self.temperature),
            "no 3": Student(self.without, temperature=self.partial_temperature, digits=no_3, corrected=(3,)),
            "7 and 8": Student(self.few, temperature=self.partial_temperature, digits=(7, 8), corrected=(7, 8)),
        }
        for width, temperatures in self.temperatures.items():
            for temperature in temperatures:
                found[narrow(width, temperature)] = Student(self.narrow[width], width, temperature)
        return found


def narrow(width, temperature):
    """Return the name of a narrow student."""
    return f"{width} units, T {temperature:g}"
