"""Plots of a run: learning curves, temperature, soft targets, and a summary of all."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_distill.drawing import pictures
from keras_distill.drawing.style import COLOURS, DISTILLED, LABELS, STYLE, TEACHER, empty_figure, matplotlib, new_figure
from keras_distill.recipes.results import WAYS, Results

_FLOOR = 1e-3
_MARKED_EPOCHS = 30


def draw_all(
    results: Results, examples: Mapping[str, np.ndarray] | str | os.PathLike, folder: str | os.PathLike
) -> tuple[str, ...]:
    """Draw every plot of a run into a folder.

    Args:
        results: The results of the run.
        examples: Dict of the arrays of `examples.npz`, or its path.
        folder: Folder for the PNG files; created if it is missing.

    Returns:
        Names of the files.

    Raises:
        ImportError: If matplotlib is missing.
    """
    matplotlib()
    if isinstance(examples, (str, os.PathLike)):
        with np.load(examples, allow_pickle=False) as arrays:
            examples = dict(arrays)
    figures = {
        "summary.png": summary(results, examples),
        "learning_curves.png": learning_curves(results),
        "temperature.png": temperature(results),
        "soft_targets.png": soft_targets(results, examples),
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=STYLE["savefig.dpi"], bbox_inches="tight", facecolor="white")
    return tuple(figures)


def learning_curves(results: Results) -> Any:
    """Draw validation accuracy by epoch: a thin line per seed, a thick line for their mean.

    Args:
        results: The results of the run.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    with matplotlib().rc_context(STYLE):
        figure, axes = new_figure(6.4, 4.0)
        _draw_curves(axes, results)
        return figure


def temperature(results: Results) -> Any:
    """Draw the temperature of the distillation by epoch.

    Args:
        results: The results of the run.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    with matplotlib().rc_context(STYLE):
        figure, axes = new_figure(6.4, 3.0)
        values = results.distilled[0].history["temperature"]
        marker = "o" if len(values) <= _MARKED_EPOCHS else None
        axes.plot(_epochs(values), values, color=DISTILLED, marker=marker, markersize=3.5, linewidth=1.6)
        axes.set(title="Temperature of the soft targets", xlabel="epoch", ylabel="temperature")
        axes.set_ylim(bottom=0)
        _label_whole_epochs(axes)
        return figure


def soft_targets(results: Results, examples: Mapping[str, np.ndarray]) -> Any:
    """Draw a few test images beside the probabilities of teacher and distilled student, on a log axis.

    The probabilities are at the temperature of the last epoch, which the student learned to match. On these images
    teacher and student are right, and the teacher is least sure.

    Args:
        results: The results of the run.
        examples: Dict of the arrays of `examples.npz`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    with matplotlib().rc_context(STYLE):
        count = len(examples["y"])
        figure, grid = new_figure(7.6, 1.5 * count + 1.0, rows=count, columns=2, width_ratios=[1, 3.6])
        for row in range(count):
            _draw_image(grid[row][0], examples["x"][row])
            _draw_bars(grid[row][1], results, examples, row, last=row == count - 1)
        title = f"Soft targets at temperature {_last_temperature(results):.1f}"
        grid[0][1].set_title(title, pad=26)
        grid[0][1].legend(loc="lower left", bbox_to_anchor=(-0.02, 0.98), ncols=2)
        return figure


def summary(results: Results, examples: Mapping[str, np.ndarray]) -> Any:
    """Draw a run in one figure: soft targets, learning curves, and accuracy by size.

    Args:
        results: The results of the run.
        examples: Dict of the arrays of `examples.npz`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    with matplotlib().rc_context(STYLE):
        figure = empty_figure(12.0, 4.2)
        shown = min(3, len(examples["y"]))
        grid = figure.add_gridspec(shown, 4, width_ratios=[0.5, 1.6, 1.9, 1.6])
        for row in range(shown):
            _draw_image(figure.add_subplot(grid[row, 0]), examples["x"][row])
            bars = figure.add_subplot(grid[row, 1])
            _draw_bars(bars, results, examples, row, last=row == shown - 1)
            bars.set_ylabel("probability" if row == shown // 2 else "")
            if row == 0:
                bars.set_title(f"Probabilities at temperature {_last_temperature(results):.1f}", pad=26)
                bars.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.96), ncols=2, fontsize=9, handlelength=1.2)
        _draw_curves(figure.add_subplot(grid[:, 2]), results)
        _draw_accuracy_by_size(figure.add_subplot(grid[:, 3]), results)
        return figure


def _draw_curves(axes: Any, results: Results) -> None:
    students = {
        way: 100 * np.array([each.history["val_accuracy"] for each in results.trainings(way)]) for way in WAYS[1:]
    }
    for way, curves in students.items():
        epochs = _epochs(curves[0])
        for curve in curves:
            axes.plot(epochs, curve, color=COLOURS[way], linewidth=0.7, alpha=0.45)
        axes.plot(epochs, curves.mean(axis=0), color=COLOURS[way], linewidth=2.0, label=LABELS[way])
    best = 100 * results.teacher.validation_accuracy
    axes.axhline(best, color=TEACHER, linewidth=1.0, linestyle="--", label=LABELS["teacher"])
    axes.set(title="Learning", xlabel="epoch", ylabel="validation accuracy (%)")
    # With the first epochs in view, the differences between the curves would be too small to see.
    low = np.percentile(np.concatenate(list(students.values())), 8)
    axes.set_ylim(low - 0.1 * (best - low), min(best + 0.12 * (best - low), 100.0) + 0.05)
    _label_whole_epochs(axes)
    seeds = {"title": "thin lines: single seeds"} if len(results.seeds) > 1 else {}
    axes.legend(loc="lower right", title_fontsize=9, **seeds)


def _draw_accuracy_by_size(axes: Any, results: Results) -> None:
    sizes = {way: results.cost(way).parameters for way in WAYS}
    for way in WAYS:
        accuracies = 100 * np.array([training.test_accuracy for training in results.trainings(way)])
        axes.scatter([sizes[way]] * len(accuracies), accuracies, s=26, color=COLOURS[way], alpha=0.55, linewidths=0)
        axes.scatter(sizes[way], accuracies.mean(), s=300, marker="_", color=COLOURS[way], linewidths=2.0)
        axes.annotate(
            f"{LABELS[way]}\n{accuracies.mean():.2f} %",
            (sizes[way], accuracies.mean()),
            xytext=(-14, 0) if way == "teacher" else (14, 0),
            textcoords="offset points",
            ha="right" if way == "teacher" else "left",
            va="center",
            color=COLOURS[way],
        )
    axes.set(title="Accuracy by size", xlabel="parameters (log scale)", ylabel="test accuracy (%)", xscale="log")
    axes.margins(x=0.25, y=0.15)
    axes.set_xticks(sorted(set(sizes.values())), [f"{size:,}" for size in sorted(set(sizes.values()))])
    axes.minorticks_off()
    if len(results.seeds) > 1:
        axes.text(0.98, 0.02, "dots: single seeds · lines: means", transform=axes.transAxes, ha="right", fontsize=9)


def _draw_bars(axes: Any, results: Results, examples: Mapping[str, np.ndarray], row: int, last: bool) -> None:
    names = results.class_names
    classes = np.arange(len(names))
    for offset, way in ((-0.2, "teacher"), (0.2, "distilled")):
        probabilities = _softmax(examples[way][row] / _last_temperature(results))
        axes.bar(classes + offset, probabilities, width=0.36, color=COLOURS[way], label=LABELS[way])
    axes.set(yscale="log", ylim=(_FLOOR, 1.6), ylabel="probability", xticks=classes, yticks=[1e-3, 1e-2, 1e-1, 1])
    axes.minorticks_off()
    words = max(map(len, names)) > 2
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if words else {}
    # matplotlib would read a dollar sign in a name as the beginning of a formula.
    axes.set_xticklabels(names if last else [], parse_math=False, **(slanted if last else {}))
    axes.tick_params(axis="x", length=0)
    right = int(examples["y"][row])
    axes.axvspan(right - 0.5, right + 0.5, color="#ececec", zorder=0, linewidth=0)
    if last:
        axes.set_xlabel("class (shaded: the right one)")


def _last_temperature(results: Results) -> float:
    return results.distilled[0].history["temperature"][-1]


def _draw_image(axes: Any, image: np.ndarray) -> None:
    if not pictures.is_picture(image):
        axes.set_axis_off()
        return
    axes.imshow(pictures.pixels(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#d0d0d0")


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - np.max(logits))
    return exponents / exponents.sum()


def _epochs(values: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _label_whole_epochs(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
