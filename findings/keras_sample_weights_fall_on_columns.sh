#!/usr/bin/env bash
# A weight per sample falls on the columns of images if a batch has as many images as an image has columns.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# `fit` documents `sample_weight` as a flat array with one weight per sample. Losses of images have the shape (image,
# row, column), and Keras multiplies them by weights of shape (image,) as NumPy does, from the right: with 8 images of 8
# columns, the weight of the first image weighs the first column of all images. Images of another width raise an error.
# In the same way, Dice, a loss with one value per image, is multiplied by a weight per pixel as if the values belonged
# to columns.
#
# Output seen:
#     mean squared error of 8 x 8 pixels, a weight per image: 0.01528
#         by hand: of the first image 0.01971, of the first column of every image 0.01528
#     mean squared error of 8 x 8 pixels, the same weights per pixel: 0.01971
#     mean squared error of 8 x 6 pixels, a weight per image: ValueError
#     Dice loss per image, the same weights per pixel: 0.06020
#         by hand: of the first image 0.06522, of all images, divided by 8, 0.06020
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'keras==3.15.1' 'tensorflow==2.21.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np

random = np.random.default_rng(0)
images, targets = random.random((2, 8, 8, 8, 1)).astype("float32")
weights = np.float32([1, 0, 0, 0, 0, 0, 0, 0])  # Only the first image counts.
by_pixel = np.tile(weights[:, None, None], (1, 8, 8))


def evaluate(loss, columns, weights):
    model = keras.Sequential([keras.Input((8, columns, 1)), keras.layers.Identity()])
    model.compile("sgd", loss)
    x, y = images[:, :, :columns], targets[:, :, :columns]
    return model.evaluate(x, y, sample_weight=weights, batch_size=8, verbose=0)


errors = np.square(images - targets)[..., 0] / 512  # (image, row, column)
first_image, first_columns = errors[0].sum(), errors[:, :, 0].sum()
found = evaluate("mse", 8, weights)
print(f"mean squared error of 8 x 8 pixels, a weight per image: {found:.5f}")
print(f"    by hand: of the first image {first_image:.5f}, of the first column of every image {first_columns:.5f}")
same = evaluate("mse", 8, by_pixel)
print(f"mean squared error of 8 x 8 pixels, the same weights per pixel: {same:.5f}")
try:
    evaluate("mse", 6, weights)
    other_size = "no error"
except Exception as error:
    other_size = type(error).__name__
print(f"mean squared error of 8 x 6 pixels, a weight per image: {other_size}")
dice = keras.losses.Dice(axis=(1, 2, 3), reduction=None)(targets, images).numpy()
found_dice = evaluate(keras.losses.Dice(axis=(1, 2, 3)), 8, by_pixel)
print(f"Dice loss per image, the same weights per pixel: {found_dice:.5f}")
print(f"    by hand: of the first image {dice[0] / 8:.5f}, of all images, divided by 8, {dice.mean() / 8:.5f}")
near = np.isclose([found, same, found_dice], [first_columns, first_image, dice.mean() / 8], rtol=1e-4)
apart = not np.isclose([first_image, dice[0]], [first_columns, dice.mean()], rtol=1e-2).any()
sys.exit(0 if near.all() and apart and other_size != "no error" else "The behaviour has changed.")
PYTHON
