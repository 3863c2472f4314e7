"""What a report says, as JSON types: page, Markdown and JSON are three ways of writing it."""

import math
import shlex

import numpy as np
from keras import ops

from keras_distill import metrics
from keras_distill._version import __version__
from keras_distill.drawing import pictures
from keras_distill.losses.divergences import kl_divergence
from keras_distill.recipes import tables
from keras_distill.recipes.folder import PREDICTIONS, REPORTER
from keras_distill.recipes.registry import NAMES
from keras_distill.report.measures import MEASURES

WAYS = ("teacher", "alone", "distilled")
BINS = 15
_SHOWN_CLASSES = 5
_SHARE = 0.005
_FILE = ("format", "status", "bytes", "accuracy", "agreement", "max_difference", "latency_us", "samples", "path")
_FACTS = ("recipe", "summary", "quick", "date", "seeds", "exported_seed", "samples", "class_names")
# What `sys.argv` begins with where a command of ours was given, and how that is typed.
_PROGRAMS = {"keras-distill": ["keras-distill"], "__main__.py": ["python", "-m", "keras_distill"]}
_COMMANDS = (["run"], ["demo"])
# Settings that stand above.
_SAID = ("name", "summary")


def contents(run):
    """Gather what a report says of a run.

    Args:
        run: A `keras_distill.report.reading.Run`.

    Returns:
        A dict of JSON types.
    """
    results = run.results
    content = {
        "producer": REPORTER,
        "version": __version__,
        "run": {name: results[name] for name in _FACTS},
        "verdict": tables.verdict(results),
        "models": {way: _model(run, way) for way in WAYS},
        "learning": {way: _curves(results, way, "val_accuracy") for way in WAYS},
        "temperature": _curves(results, "distilled", "temperature")[0],
        "calibration": run.predictions and {way: _reliability(run, way) for way in WAYS},
        "classes": run.predictions and _classes(run),
        "disagreements": run.predictions and _disagreements(run),
        "files": [{name: row.get(name) for name in _FILE} for row in results["export"]["artifacts"]],
        "reproduction": _reproduction(results),
        "left_out": _left_out(run),
    }
    return _known(content)


def _trainings(results, way):
    """Return the records of a model's trainings, a list: one of the teacher, one per seed of a student."""
    return [results["teacher"]] if way == "teacher" else results[way]


def _outputs(run, way):
    """Return the logits of a model's trainings on the test split `[trainings, samples, classes]`."""
    return run.predictions[way][None] if way == "teacher" else run.predictions[way]


def _model(run, way):
    """Return the measures of a model: name to the values of its trainings, `None` where they are not known."""
    recorded = {"accuracy": [training["test_accuracy"] for training in _trainings(run.results, way)]}
    cost = run.results["teacher" if way == "teacher" else "student"]
    recorded |= {measure.name: [cost[measure.name]] for measure in MEASURES if measure.group == "cost"}
    if way != "teacher":
        recorded["agreement"] = [training["agreement"] for training in run.results[way]]
    return {measure.name: recorded.get(measure.name) or _computed(run, way, measure) for measure in MEASURES}


def _computed(run, way, measure):
    if measure.compute is None or run.predictions is None or (way == "teacher" and measure.group == "fidelity"):
        return None
    labels, teacher = run.predictions["y"], run.predictions["teacher"]
    # A training that came apart has none.
    return [
        float(measure.compute(labels, teacher, logits)) if np.isfinite([teacher, logits]).all() else None
        for logits in _outputs(run, way)
    ]


def _share(hits):
    return float(np.mean(hits)) if hits.size else None


def _known(value):
    """Return JSON types with `None` for what is not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _curves(results, way, name):
    return [training["history"][name] for training in _trainings(results, way)]


def _reliability(run, way):
    """Return the bins of a reliability diagram, of all trainings of a model together; the empty ones are left out."""
    logits = _outputs(run, way)
    logits = logits[np.isfinite(logits).all(axis=(1, 2))]
    if not len(logits):
        return []
    labels = np.tile(run.predictions["y"], len(logits))
    curve = metrics.reliability_curve(labels, np.concatenate(logits), BINS)
    return [
        {
            "start": place / BINS,
            "end": (place + 1) / BINS,
            "confidence": float(confidence),
            "accuracy": float(accuracy),
            "samples": int(weight),
        }
        for place, (confidence, accuracy, weight) in enumerate(zip(*curve, strict=True))
        if weight
    ]


def _classes(run):
    """Return, for each class, the accuracy of each model and the students' agreement: means over their trainings."""
    labels, teacher = run.predictions["y"], run.predictions["teacher"]
    right = {way: np.argmax(_outputs(run, way), axis=-1) == labels for way in WAYS}
    agreement = {
        way: np.mean([metrics.class_agreement(teacher, logits) for logits in _outputs(run, way)], axis=0)
        for way in WAYS[1:]
    }
    return [
        {
            "name": name,
            "samples": int(np.sum(labels == place)),
            "accuracy": {way: _share(hits[:, labels == place]) for way, hits in right.items()},
            "agreement": {way: float(shares[place]) for way, shares in agreement.items()},
        }
        for place, name in enumerate(run.results["class_names"])
    ]


def _disagreements(run):
    """Return the samples on which the exported student is farthest from its teacher, and what both say of them."""
    held, names = run.predictions, run.results["class_names"]
    rows = []
    for place in map(int, held["farthest"]):
        teacher, student = held["teacher"][place], held["distilled"][run.exported][place]
        if not np.isfinite([teacher, student]).all():
            continue
        right = int(held["y"][place])
        says = {"teacher": _softmax(teacher), "student": _softmax(student)}
        rows.append(
            {
                "sample": place,
                "right": names[right],
                "answers": {who: names[int(np.argmax(shares))] for who, shares in says.items()},
                "divergence": float(kl_divergence(teacher[None], student[None])[0]),
                "classes": [
                    {"name": names[index], "right": index == right, **{who: float(says[who][index]) for who in says}}
                    for index in _most_likely(right, *says.values())
                ],
            }
        )
    return rows


def _most_likely(right, *shares):
    """Return the classes that matter, the likeliest first: those that either gives a share, and the right one."""
    largest = np.max(shares, axis=0)
    likeliest = np.argsort(-largest, kind="stable")[:_SHOWN_CLASSES]
    first = [int(index) for place, index in enumerate(likeliest) if place < 2 or largest[index] >= _SHARE]
    return first if right in first else [*first[: _SHOWN_CLASSES - 1], right]


def _softmax(logits):
    return ops.convert_to_numpy(ops.softmax(logits.astype("float64")))


def _reproduction(results):
    program, *arguments = results["command"] or [None]
    ours = program in _PROGRAMS and arguments[:1] in _COMMANDS
    return {
        "command": shlex.join([*_PROGRAMS[program], *arguments]) if ours else None,
        "code": None if ours else _code(results),
        "settings": {name: value for name, value in results["settings"].items() if name not in _SAID},
        "versions": results["versions"],
        "machine": results.get("machine"),
    }


def _code(results):
    """Return the call that makes the run again, where no command has made it."""
    recipe = repr(results["recipe"]) if results["recipe"] in NAMES else "RECIPE"
    formats = tuple(row["format"] for row in results["export"]["artifacts"])
    options = f"seeds={tuple(results['seeds'])}, formats={formats}" + (", quick=True" if results["quick"] else "")
    return f"import keras_distill as kd\n\nkd.recipes.run({recipe}, {'runs/' + results['recipe']!r}, {options})"


def _left_out(run):
    """Say which parts are missing, and why."""
    sentences = []
    if run.predictions is None:
        sentences.append(
            f"Fidelity beyond agreement, calibration and disagreements are left out: this run is older than "
            f"{PREDICTIONS}, which holds what the models answered. Run it again to have them."
        )
    elif not all(pictures.is_picture(sample) for sample in run.predictions["x"]):
        sentences.append("The samples of the disagreements are not shown: they are no pictures.")
    return sentences
