"""Figures: what they show, read back from the axes."""

import builtins
import dataclasses

import numpy as np
import pytest

from keras_distill.recipes import Results, plots
from tests import run_results

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
EXAMPLES = {"x": np.zeros((2, 8, 8, 1)), "y": np.array([0, 1]), "teacher": LOGITS, "alone": LOGITS, "distilled": LOGITS}


def training(accuracies, **more):
    history = {"val_accuracy": accuracies, "temperature": [4.0, 2.0, 1.0]}
    return run_results.training(accuracies[-1], history=history, **more)


RESULTS = Results.from_json(
    {
        **run_results.make_results().to_json(),
        "teacher": training([0.8, 0.9, 0.99], **{**run_results.COST, "parameters": 9000}),
        "student": {**run_results.COST, "parameters": 500},
        "alone": [training([0.5, 0.6, 0.7]), training([0.5, 0.6, 0.8])],
        "distilled": [training([0.6, 0.7, 0.8]), training([0.6, 0.8, 0.9])],
    },
    "results.json",
)


def test_learning_curves_show_each_seed_and_the_mean():
    (axes,) = plots.learning_curves(RESULTS).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len(lines) == 6
    means = {line.get_label(): line.get_ydata() for line in lines if not line.get_label().startswith("_")}
    assert means["student alone"] == pytest.approx([50, 60, 75])
    assert means["student distilled"] == pytest.approx([60, 75, 85])
    assert axes.get_xlabel() == "epoch" and "%" in axes.get_ylabel()


def test_the_temperature_is_that_of_the_training():
    (axes,) = plots.temperature(RESULTS).axes
    assert axes.lines[0].get_ydata() == pytest.approx([4.0, 2.0, 1.0])
    assert axes.get_ylabel() == "temperature"


def test_soft_targets_are_probabilities_on_a_log_axis():
    axes = plots.soft_targets(RESULTS, EXAMPLES).axes
    bars = axes[1]
    assert bars.get_yscale() == "log"
    assert [bar.get_height() for bar in bars.containers[0]] == pytest.approx([0.7, 0.2, 0.1])
    assert len(axes) == 2 * len(EXAMPLES["y"])


def test_inputs_that_are_no_images_and_names_that_look_like_formulas():
    results = dataclasses.replace(RESULTS, class_names=["$a", "$\\frac", "c"])
    examples = {**EXAMPLES, "x": np.zeros((2, 7))}
    image, *_, bars = plots.soft_targets(results, examples).axes
    assert not image.images and not image.axison
    assert not any(label.get_parse_math() for label in bars.get_xticklabels())


def test_the_summary_has_images_bars_curves_and_sizes():
    *_, curves, sizes = plots.summary(RESULTS, EXAMPLES).axes
    assert [axes.get_title("left") for axes in (curves, sizes)] == ["Learning", "Accuracy by size"]
    assert [label.get_text() for label in sizes.get_xticklabels()] == ["500", "9,000"]


def test_every_figure_is_written(tmp_path):
    names = plots.draw_all(RESULTS, EXAMPLES, tmp_path / "plots")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert all((tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_without_matplotlib_the_error_tells_how_to_install_it(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="^Expected matplotlib.*Install it: pip install"):
        plots.draw_all(RESULTS, EXAMPLES, tmp_path)
