"""`keras-distill profile`: the time of each part of a recipe's training step."""

from typing import Any

import click

from keras_distill.cli import session

_STEPS_PER_CALL = 32


@click.command(
    epilog="Examples: keras-distill profile digits; keras-distill profile cifar10 --data-dir ~/tensorflow_datasets "
    "--quick; keras-distill profile my_recipe.py --steps 100 --directory runs/profile, then tensorboard "
    "--logdir runs/profile"
)
@click.argument("recipe")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download missing data.")
@click.option("--quick", is_flag=True, help="Use the recipe's quick form, with less data.")
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Minimum number of timed steps for each part.",
)
@session.directory_option("Folder for profile.json and a trace for TensorBoard's profiler.")
@session.threads_option
def command(
    recipe: str,
    data_dir: str | None,
    download: bool,
    quick: bool,
    steps: int,
    directory: str | None,
    threads: int | None,
) -> None:
    """Show the time of each part of a training step of RECIPE: input, teacher, student, losses, optimizer.

    RECIPE is digits, mnist, cifar10, function_matching or hinton2015, or the path of a Python file that defines RECIPE;
    such a file is run like any Python script. The models are not trained first, since this does not change the time.
    The step is cut off after each of its parts, and the prefixes are timed in turn, so that the parts add up. The
    residual is the time of the call of the step itself.
    """
    with session.report_users_errors():
        session.start_tensorflow(threads)

        from keras_distill import recipes
        from keras_distill.profiling import profile

        chosen = recipes.load(recipe)
        chosen = chosen.quickened() if quick else chosen
        distiller, batches = _prepare(chosen, chosen.data(data_dir, download))
        found = profile(distiller, batches, steps=steps, trace=directory)
    session.console().print(found)
    if directory:
        _write(found, directory)


def _prepare(recipe: Any, data: Any) -> tuple[Any, Any]:
    """Return the distiller of a recipe, compiled as in its runs, and its training batches."""
    import keras

    from keras_distill.data.batches import Batches
    from keras_distill.distiller.model import Distiller
    from keras_distill.losses.logits.soft_targets import LogitsDistillation

    x, y = data.first(recipe.samples).first(recipe.transfer_samples).train
    if recipe.views is None:
        batches: Any = Batches(x, y, recipe.batch_size, shift=recipe.shift, flip=recipe.flip)
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        batches = recipe.views(x, y, recipe.batch_size, 0)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    soft = LogitsDistillation(temperature=recipe.temperature(recipe.student_epochs)(0))
    distiller = Distiller(recipe.teacher(), recipe.student(), soft, student_loss_weight=recipe.student_loss_weight)
    steps = min(len(batches), _STEPS_PER_CALL)
    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    distiller.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=steps)
    return distiller, batches


def _write(found: Any, folder: str) -> None:
    import json
    import pathlib

    path = pathlib.Path(folder) / "profile.json"
    temporary = path.with_name("profile.json.tmp")
    temporary.write_text(json.dumps({**found.to_dict(), "trace": "."}, indent=1) + "\n")
    temporary.replace(path)
    click.echo(f"The figures are in {path}. To see the trace: tensorboard --logdir {folder}")
