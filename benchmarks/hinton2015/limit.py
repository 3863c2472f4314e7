"""Show that a high temperature matches logits: compare the gradient of the soft targets with the logits' difference.

The gradient of the cross-entropy at temperature T is (q_i - p_i) / T, with p the teacher's and q the student's softened
probabilities; if T is large compared with the logits, and these have zero mean, it is (z_i - v_i) / (N T²). So N T²
times the gradient is compared with z_i - v_i, on logits of real nets, from T = 1 to 1000.
"""

import numpy as np
import tensorflow as tf

import keras_distill as kd
from keras_distill.drawing import style

TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
SHOWN = (1.0, 4.0, 20.0, 200.0)
POINTS = 400


def difference(teacher, student):
    """Return `z - v` of logits `[samples, classes]`, each of zero mean."""
    teacher, student = (np.asarray(each, "float64") for each in (teacher, student))
    return (student - student.mean(-1, keepdims=True)) - (teacher - teacher.mean(-1, keepdims=True))


def scaled_gradient(teacher, student, temperature):
    """Return N T² times the gradient of the cross-entropy with soft targets, `[samples, classes]` in float64."""
    teacher, student = (tf.constant(each, "float64") for each in (teacher, student))
    with tf.GradientTape() as tape:
        tape.watch(student)
        # It has the T² in it; of a sum over samples, so that each keeps its own.
        loss = tf.reduce_sum(kd.losses.functional.soft_target_ce(teacher, student, temperature))
    return student.shape[-1] * tape.gradient(loss, student).numpy()


def compare(teacher, student):
    """Compare gradient and difference at every temperature.

    Returns:
        A list of dicts: `temperature`, `correlation` of all their entries, `slope` of the gradient over the
        difference, and `relative_difference`, the norm of what is between them over that of the difference.
    """
    wanted, rows = difference(teacher, student), []
    for temperature in TEMPERATURES:
        found = scaled_gradient(teacher, student, temperature)
        rows.append(
            {
                "temperature": temperature,
                "correlation": float(np.corrcoef(found.ravel(), wanted.ravel())[0, 1]),
                "slope": float(np.sum(found * wanted) / np.sum(wanted**2)),
                "relative_difference": float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)),
            }
        )
    return rows


def draw(teacher, student, rows, path):
    """Draw some gradients over the differences, and how they near each other; write an SVG."""
    wanted = difference(teacher, student)
    chosen = np.random.default_rng(0).permutation(wanted.size)[:POINTS]
    with style.matplotlib().rc_context({**style.STYLE, "svg.hashsalt": "hinton2015"}):
        figure, (left, right) = style.new_figure(9.6, 4.0, columns=2)
        shades = ("#56b4e9", "#009e73", "#d55e00", "#4d4d4d")
        for temperature, colour in zip(SHOWN, shades, strict=True):
            found = scaled_gradient(teacher, student, temperature)
            label = f"T = {temperature:g}"
            left.scatter(wanted.flat[chosen], found.flat[chosen], s=5, color=colour, linewidths=0, label=label)
        # At T = 1 a few gradients are of the size of N; the axes are those of the differences.
        reach = np.percentile(np.abs(wanted), 99.5)
        left.plot([-reach, reach], [-reach, reach], color="#8c8c8c", linewidth=0.8, zorder=0)
        left.set(xlim=(-reach, reach), ylim=(-reach, reach), title="Gradient and difference of logits")
        left.set(xlabel="z - v, logits of zero mean", ylabel="N T² times the gradient")
        left.legend(loc="upper left", markerscale=2)
        temperatures = [row["temperature"] for row in rows]
        for key, label, colour in (
            ("relative_difference", "relative difference", "#d55e00"),
            ("correlation", "1 - correlation", "#4d4d4d"),
        ):
            values = [1.0 - row[key] if key == "correlation" else row[key] for row in rows]
            right.loglog(temperatures, values, color=colour, marker="o", markersize=3.5, label=label)
        right.set(title="How far they are apart", xlabel="temperature")
        right.legend()
        figure.savefig(path, metadata={"Date": None})
