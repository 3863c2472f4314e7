"""The content of a report as JSON types; the page, the Markdown and the JSON are three ways of writing it."""

import math
import shlex
from typing import Any

import numpy as np
from keras import ops

from keras_distill import metrics
from keras_distill._version import __version__
from keras_distill.drawing import pictures
from keras_distill.losses.divergences import kl_divergence
from keras_distill.recipes import NAMES, tables
from keras_distill.recipes.folder import PREDICTIONS, REPORTER
from keras_distill.recipes.results import WAYS, Results
from keras_distill.report.measures import MEASURES, Measure
from keras_distill.report.reading import Run

BINS = 15
"""Number of bins of a reliability diagram."""
_SHOWN_CLASSES = 5
_SHARE = 0.005
_FILE = ("format", "status", "bytes", "accuracy", "agreement", "max_difference", "latency_us", "samples", "path")
_FACTS = ("recipe", "summary", "quick", "date", "seeds", "exported_seed", "samples", "class_names")
# First word of the command line of a run from the terminal -> how a user types it.
_PROGRAMS = {"keras-distill": ["keras-distill"], "__main__.py": ["python", "-m", "keras_distill"]}
_COMMANDS = (["run"], ["demo"])
# The report gives these settings in its head.
_SETTINGS_ABOVE = ("name", "summary")


def contents(run: Run) -> dict[str, Any]:
    """Return the content of the report on a run, a dict of JSON types."""
    results, held, has_outputs = run.results, run.results.to_json(), run.predictions is not None
    content = {
        "producer": REPORTER,
        "version": __version__,
        "run": {name: held[name] for name in _FACTS},
        "verdict": tables.verdict(results),
        "models": {way: _measure_model(run, way) for way in WAYS},
        "learning": {way: [each.history["val_accuracy"] for each in results.trainings(way)] for way in WAYS},
        "temperature": results.distilled[0].history["temperature"],
        "calibration": {way: _bin_reliability(run, way) for way in WAYS} if has_outputs else None,
        "classes": _describe_classes(run) if has_outputs else None,
        "disagreements": _find_disagreements(run) if has_outputs else None,
        "files": [{name: getattr(file, name) for name in _FILE} for file in results.export.artifacts],
        "reproduction": _describe_reproduction(results),
        "left_out": _explain_gaps(run),
    }
    return _without_nan(content)


def _measure_model(run: Run, way: str) -> dict[str, list[float | None] | None]:
    """Return the measures of a model: name to the values of its trainings, `None` where they are unknown."""
    trainings, cost = run.results.trainings(way), run.results.cost(way)
    recorded: dict[str, list[float | None]] = {"accuracy": [training.test_accuracy for training in trainings]}
    recorded |= {measure.name: [getattr(cost, measure.name)] for measure in MEASURES if measure.group == "cost"}
    if way != "teacher":
        recorded["agreement"] = [training.agreement for training in trainings]
    return {measure.name: recorded.get(measure.name) or _compute(run, way, measure) for measure in MEASURES}


def _compute(run: Run, way: str, measure: Measure) -> list[float | None] | None:
    if measure.compute is None or run.predictions is None or (way == "teacher" and measure.group == "fidelity"):
        return None
    labels, teacher = run.predictions["y"], run.predictions["teacher"]
    # A training that diverged has no measures.
    return [
        float(measure.compute(labels, teacher, logits)) if np.isfinite([teacher, logits]).all() else None
        for logits in run.outputs[way]
    ]


def _without_nan(value: Any) -> Any:
    """Return JSON types with `None` in place of numbers that are not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _bin_reliability(run: Run, way: str) -> list[dict[str, Any]]:
    """Return the bins of a reliability diagram over all trainings of a model, without the empty bins."""
    assert run.predictions is not None
    logits = run.outputs[way]
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


def _describe_classes(run: Run) -> list[dict[str, Any]]:
    """Return, for each class, the accuracy of each model and the students' agreement: means over their trainings."""
    assert run.predictions is not None
    labels, teacher = run.predictions["y"], run.predictions["teacher"]
    right = {way: np.argmax(run.outputs[way], axis=-1) == labels for way in WAYS}
    agreement = {
        way: np.mean([metrics.class_agreement(teacher, logits) for logits in run.outputs[way]], axis=0)
        for way in WAYS[1:]
    }
    return [
        {
            "name": name,
            "samples": int(np.sum(labels == place)),
            "accuracy": {
                way: float(np.mean(hits[:, labels == place])) if place in labels else None
                for way, hits in right.items()
            },
            "agreement": {way: float(shares[place]) for way, shares in agreement.items()},
        }
        for place, name in enumerate(run.results.class_names)
    ]


def _find_disagreements(run: Run) -> list[dict[str, Any]]:
    """Return the samples on which the exported student is farthest from its teacher, with both predictions."""
    assert run.predictions is not None
    held, names = run.predictions, run.results.class_names
    rows = []
    for place in map(int, held["farthest"]):
        teacher, student = held["teacher"][place], held["distilled"][run.results.exported][place]
        if not np.isfinite([teacher, student]).all():
            continue
        right = int(held["y"][place])
        shares = {"teacher": _softmax(teacher), "student": _softmax(student)}
        rows.append(
            {
                "sample": place,
                "right": names[right],
                "answers": {who: names[int(np.argmax(each))] for who, each in shares.items()},
                "divergence": float(kl_divergence(teacher[None], student[None])[0]),
                "classes": [
                    {"name": names[index], "right": index == right}
                    | {who: float(each[index]) for who, each in shares.items()}
                    for index in _find_likely_classes(right, *shares.values())
                ],
            }
        )
    return rows


def _find_likely_classes(right: int, *shares: np.ndarray) -> list[int]:
    """Return the classes to show, likeliest first: those that either model finds likely, and the right one."""
    largest = np.max(shares, axis=0)
    likeliest = np.argsort(-largest, kind="stable")[:_SHOWN_CLASSES]
    first = [int(index) for place, index in enumerate(likeliest) if place < 2 or largest[index] >= _SHARE]
    return first if right in first else [*first[: _SHOWN_CLASSES - 1], right]


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.softmax(logits.astype("float64"))))


def _describe_reproduction(results: Results) -> dict[str, Any]:
    program, *arguments = results.command or [""]
    is_ours = program in _PROGRAMS and arguments[:1] in _COMMANDS
    return {
        "command": shlex.join([*_PROGRAMS[program], *arguments]) if is_ours else None,
        "code": None if is_ours else _write_code(results),
        "settings": {name: value for name, value in results.settings.items() if name not in _SETTINGS_ABOVE},
        "versions": results.versions,
        "machine": results.machine,
    }


def _write_code(results: Results) -> str:
    """Return the Python code that repeats a run that no command started."""
    recipe = repr(results.recipe) if results.recipe in NAMES else "RECIPE"
    formats = tuple(file.format for file in results.export.artifacts)
    options = f"seeds={tuple(results.seeds)}, formats={formats}" + (", quick=True" if results.quick else "")
    return f"import keras_distill as kd\n\nkd.recipes.run({recipe}, {'runs/' + results.recipe!r}, {options})"


def _explain_gaps(run: Run) -> list[str]:
    """Return a sentence for each missing part, with the reason."""
    sentences = []
    if run.predictions is None:
        sentences.append(
            f"Fidelity beyond agreement, calibration and disagreements are left out: this run is older than "
            f"{PREDICTIONS}, which holds the models' outputs. Run it again to have them."
        )
    elif not all(pictures.is_picture(sample) for sample in run.predictions["x"]):
        sentences.append("The samples of the disagreements are not shown, because they are not pictures.")
    return sentences
