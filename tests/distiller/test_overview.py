"""What a distiller shows of itself: a summary, a repr, and a progress bar that fits on a line."""

import keras
import numpy as np
import pytest

import keras_distill as kd


def model(width, name):
    layers = [keras.Input((4,)), keras.layers.Dense(width, name="hidden"), keras.layers.Dense(3, name="logits")]
    return keras.Sequential(layers, name=name)


@pytest.fixture
def distiller():
    hint = kd.losses.FeatureDistillation("mse", "hidden", "hidden", name="hint")
    losses = [kd.losses.LogitsDistillation(temperature=6.0), hint, "ctkd", "dkd"]
    distiller = kd.Distiller(model(8, "big"), model(8, "small"), losses, [1.0, 0.25, 1.0, 1.0], 0.2)
    distiller.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return distiller


def shown(distiller, **options):
    pages = []
    distiller.summary(print_fn=lambda text, **kwargs: pages.append(text), **options)
    return pages


def test_the_summary_tells_what_will_be_trained_and_how(distiller):
    (page,) = shown(distiller)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in page.splitlines() if line.startswith("│")]
    assert ["teacher", "big", "67", "–", "float32"] in rows
    assert ["student", "small", "67", "1", "float32"] in rows  # The temperature that CTKD learns is one more.
    assert ["hard labels", "0.2", "–", "–", "–"] in rows
    assert ["logits_distillation", "0.8 × 1", "6", "output", "output"] in rows
    assert ["hint", "0.8 × 0.25", "–", "hidden", "hidden"] in rows
    assert any(row[0] == "ctkd" and row[2].endswith("(learned)") for row in rows)


def test_the_summary_tells_the_numbers_of_now(distiller):
    distiller.temperature, distiller.student_loss_weight = 3.5, 0.0
    (page,) = shown(distiller)
    assert "3.5" in page
    assert "1 × 0.25" in page


def test_the_summary_adds_the_students_layers(distiller):
    pages = shown(distiller, expand_nested=True)
    assert "Terms of the loss" in pages[0]
    assert any("logits (Dense)" in page for page in pages[1:])


def test_the_repr_is_one_line(distiller):
    told = "<Distiller 'distiller': 'big' teaches 'small' by logits_distillation, hint, ctkd, dkd>"
    assert repr(distiller) == told


def test_a_notebook_shows_the_tables(distiller):
    assert "Terms of the loss" in distiller._repr_mimebundle_([], [])["text/html"]


def test_the_progress_bar_leaves_details_to_the_history(distiller, capsys):
    x, y = np.ones((8, 4), "float32"), np.arange(8) % 3
    history = distiller.fit(x, y, validation_data=(x, y), verbose=2).history
    printed = capsys.readouterr().out
    names = {part.split(":")[0].strip() for part in printed.splitlines()[-1].split(" - ")[1:]}
    assert {"loss", "student_loss", "distillation_loss", "accuracy", "temperature", "val_loss"} <= names
    assert not names & {"total_loss", "hint", "dkd", "dkd_temperature", "val_total_loss"}
    assert {"total_loss", "hint", "dkd", "dkd_temperature"} <= history.keys()


def test_the_progress_bar_shows_each_loss_where_there_is_room(capsys):
    losses = [kd.losses.LogitsDistillation(), kd.losses.FeatureDistillation("mse", "hidden", "hidden", name="hint")]
    distiller = kd.Distiller(model(8, "big"), model(8, "small"), losses)
    distiller.compile("sgd", run_eagerly=True)
    distiller.fit(np.ones((8, 4), "float32"), verbose=2)
    assert " - hint: " in capsys.readouterr().out


def test_the_users_own_progress_bar_stays(distiller, capsys):
    x, y = np.ones((8, 4), "float32"), np.arange(8) % 3
    distiller.fit(x, y, verbose=2, callbacks=[keras.callbacks.ProgbarLogger()])
    printed = capsys.readouterr().out
    assert printed.count("total_loss") == 1
