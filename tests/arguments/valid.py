"""Valid arguments of every public function and class: what the test of bad ones starts from."""

import functools
import sys
import tempfile

import keras
import numpy as np

import keras_distill as kd

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = np.arange(8) % 3
ROWS, MAPS = np.ones((4, 3), "float32"), np.ones((4, 2, 2, 3), "float32")


def answer(x):
    """Be a teacher that is a function."""
    return np.zeros((len(x), 3), "float32")


@functools.cache
def folder():
    return tempfile.mkdtemp(prefix="arguments")


@functools.cache
def model(name="student", classes=3):
    layers = [keras.layers.Dense(3, activation="relu", name="hidden"), keras.layers.Dense(classes, name="head")]
    return keras.Sequential([keras.Input((4,)), *layers], name=name)


@functools.cache
def quantized():
    return kd.quantization.quantize_aware(model())


@functools.cache
def store():
    return kd.targets.write(model("teacher"), (X, Y), f"{folder()}/store")


BY_NAME = {
    "teacher": lambda: model("teacher"),
    "student": model,
    "model": model,
    "students": lambda: [model(), model("other")],
    "distillation_losses": lambda: "kd",
    "schedule": lambda: kd.schedules.linear(4.0, 1.0, 3),
    "logits": lambda: ROWS,
    "generalist_logits": lambda: ROWS,
    "labels": lambda: np.arange(4) % 3,
    "x": lambda: X,
    "y": lambda: Y,
    "outputs": lambda: ROWS,
    "batch_size": lambda: 4,
    "classes": lambda: 3,
    "steps": lambda: 3,
    "start": lambda: 4.0,
    "end": lambda: 1.0,
    "width": lambda: 3,
    "mid_width": lambda: 3,
    "path": lambda: f"{folder()}/new",
    "directory": lambda: f"{folder()}/new",
    "dataset": lambda: (X, Y),
    "data": lambda: (X, Y),
    "temperature": lambda: 2.0,
    "dataset_size": lambda: 8,
    "teacher_layer_name": lambda: "hidden",
    "student_layer_name": lambda: "hidden",
    "indices": lambda: np.array([[0, 1]]),
    "values": lambda: np.array([[1.0, 0.0]]),
    "rest": lambda: np.array([[0.0]]),
    "clusters": lambda: [[0, 1], [2]],
}
for one in ("logits", "features", "embed", "outputs", "factor", "scores", "weak", "strong"):
    for owner in ("teacher", "student"):
        BY_NAME[f"{owner}_{one}"] = lambda one=one: MAPS if one in ("features", "factor") else ROWS
"""Argument -> a function that returns a valid value."""

OF = {
    "losses.CRD": {"dataset_size": lambda: 8},
    "data.Data": {each: lambda: (X, Y) for each in ("train", "validation", "test")}
    | {"class_names": lambda: ("a", "b", "c")},
    "distribution.Cluster": {"addresses": lambda: ("a:1",), "index": lambda: 0},
    "recipes.Recipe": {
        "name": lambda: "mine",
        "summary": lambda: "what it does",
        "data": lambda: lambda recipe, quick: None,
        "teacher": lambda: model,
        "student": lambda: model,
        "temperature": lambda: lambda epochs: lambda epoch: 1.0,
        "teacher_epochs": lambda: 1,
        "student_epochs": lambda: 1,
    },
    "answers.Logits": {},
    "answers.TemperedLogits": {"at_temperature": lambda: lambda temperature: ROWS},
    "answers.as_answer": {"output": lambda: ROWS},
    "callbacks.DarkKnowledge": {"log_dir": folder, "samples": lambda: X},
    "data.mix": {"labelled": lambda: (X, Y), "unlabelled": lambda: X},
    "data.load": {"name": lambda: "mnist"},
    "distribution.launch": {"command": lambda: [sys.executable, "-c", ""], "workers": lambda: 1},
    "distribution.distribute": {"examples": lambda: (X, Y)},
    "distribution.strategy": {"name": lambda: "none"},
    "export.benchmark": {"files": lambda: [f"{folder()}/model.tflite"]},
    "export.export": {"evaluation_data": lambda: (X, Y)},
    "features.AttentionBasedFusion": {"size": lambda: (2, 2)},
    "features.FeatureExtractor": {"taps": lambda: ["hidden"]},
    "features.ReviewFusion": {"shapes": lambda: [(None, 4, 4, 3), (None, 2, 2, 3)]},
    "features.batch_norm_margin": {"gamma": lambda: [1.0], "beta": lambda: [0.0]},
    "features.find_layer": {"path": lambda: "hidden"},
    "features.find_layers": {"name_or_pattern": lambda: "hidden"},
    "features.tap": {"path": lambda: "hidden"},
    "features.train_paraphraser": {"layer_name": lambda: "hidden", "x": lambda: X},
    "losses.get": {"name": lambda: "kd"},
    "losses.functional.at": {"teacher": lambda: MAPS, "student": lambda: MAPS},
    "losses.functional.fsp": {"teacher": lambda: [MAPS, MAPS], "student": lambda: [MAPS, MAPS]},
    "losses.functional.ickd": {"teacher": lambda: MAPS, "student": lambda: MAPS},
    "losses.functional.nst": {"teacher": lambda: MAPS, "student": lambda: MAPS},
    "losses.functional.ofd": {"margin": lambda: -1.0},
    "losses.functional.sp": {"teacher": lambda: MAPS, "student": lambda: ROWS},
    "losses.functional.vid": {"mean": lambda: MAPS, "variance": lambda: np.ones(3, "float32")},
    "losses.divergences.mixture_divergence": {
        "p": lambda: ROWS,
        "q": lambda: ROWS,
        "log_ratio": lambda: ROWS,
        "share": lambda: 0.5,
    },
    "losses.fused_distillation": {
        "hidden": lambda: ROWS,
        "kernel": lambda: np.ones((3, 3), "float32"),
        "bias": lambda: None,
        "targets": lambda: ROWS,
    },
    "metrics.Labelled": {"metric": lambda: keras.metrics.SparseCategoricalAccuracy()},
    "profiling.profile": {"distiller": lambda: kd.Distiller(model("teacher"), model(), "kd")},
    "quantization.calibrate": {"model": quantized},
    "quantization.check_trained": {"model": lambda: calibrated()},
    "quantization.float_student": {"model": lambda: calibrated()},
    "quantization.ranges": {"model": quantized},
    "recipes.load": {"name_or_path": lambda: "digits"},
    "recipes.run": {"recipe": lambda: "digits"},
    "report.write": {"run": folder},
    "schedules.constant": {"value": lambda: 1.0},
    "schedules.driven": {"metric": lambda: "val_loss", "function": lambda: abs},
    "schedules.piecewise": {"boundaries": lambda: [2], "values": lambda: [2.0, 1.0]},
    "schedules.restarts": {"period": lambda: 2},
    "stages.born_again": {
        "student_factory": lambda: model,
        "generations": lambda: 1,
        "train": lambda: lambda distiller, generation: None,
    },
    "stages.chain": {"train": lambda: lambda distiller, stage: None},
    "targets.Replay": {"augment_fn": lambda: lambda x, seed: x},
    "targets.StoredTeacher": {"store": store},
    "targets.TargetStore": {"path": lambda: store().path},
    "targets.key_of": {"inputs": lambda: X[0]},
    "targets.open": {"path": lambda: store().path},
    "teachers.CallableTeacher": {"function": lambda: answer, "input_shape": lambda: (4,)},
    "teachers.as_teacher": {"teacher": lambda: answer, "input_shape": lambda: (4,)},
    "teachers.Ensemble": {"members": lambda: [model("teacher")]},
    "teachers.MappedClasses": {"groups": lambda: [[0], [1, 2]]},
    "teachers.Specialists": {
        "generalist": lambda: model("teacher"),
        "specialists": lambda: [model(), model("narrow", 2)],
    },
    "teachers.at_temperature": {"outputs": lambda: kd.answers.Logits(ROWS)},
    "teachers.combine_specialists": {
        "specialist_logits": lambda: [ROWS, ROWS[:, :2]],
        "active": lambda: np.eye(4)[:, :2],
    },
    "teachers.find_clusters": {"predictions": lambda: np.eye(6), "clusters": lambda: 2},
    "teachers.geometric_mean": {"logits": lambda: np.zeros((2, 4, 3), "float32")},
    "teachers.map_classes": {"mapping": lambda: [[0], [1, 2]]},
    "teachers.mean_of_logits": {"logits": lambda: np.zeros((2, 4, 3), "float32")},
    "teachers.mean_of_probabilities": {"logits": lambda: np.zeros((2, 4, 3), "float32")},
    "teachers.merge_classes": {"groups": lambda: [[0], [1, 2]]},
    "teachers.specialist_labels": {"cluster": lambda: [0, 1]},
    "teachers.with_temperatures": {"at_temperature": lambda: lambda temperature: ROWS},
    "tuning.tune": {"build": lambda: lambda: None, "validation_data": lambda: (X, Y)},
}
"""Function or class -> valid values of the arguments that need others than those of `BY_NAME`."""


@functools.cache
def calibrated():
    kd.quantization.calibrate(quantized(), X)
    return quantized()
