"""`keras-distill profile`: where the time of a recipe's training step goes."""

import click

from keras_distill.cli import session

_STEPS_PER_CALL = 32


@click.command(
    epilog="Examples: keras-distill profile digits; keras-distill profile cifar10 --data-dir ~/tensorflow_datasets "
    "--quick; keras-distill profile my_recipe.py --steps 100 --out runs/profile, then tensorboard --logdir runs/profile"
)
@click.argument("recipe")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download what is not there.")
@click.option("--quick", is_flag=True, help="The recipe's quick form: less data.")
@click.option(
    "--steps", type=click.IntRange(1), default=30, show_default=True, help="Steps of each part to time, at least."
)
@click.option("--out", type=click.Path(), help="Folder for profile.json, and a trace for TensorBoard's profiler.")
@session.threads_option
def command(recipe, data_dir, download, quick, steps, out, threads):
    """Tell where the time of a training step of RECIPE goes: input, teacher, student, losses, optimizer.

    RECIPE is digits, mnist, cifar10, function_matching or hinton2015, or the path of a Python file that defines RECIPE;
    such a file is run, like any Python script. The models are built and not trained: that changes no time. The parts are timed by the step cut
    off after each, in turn, and add up to the whole step; what is left is the call of the step itself.
    """
    with session.report_users_errors():
        session.start_tensorflow(threads)

        from keras_distill import recipes
        from keras_distill.profiling import profile

        chosen = recipes.load(recipe)
        chosen = chosen.quickened() if quick else chosen
        distiller, batches = _prepared(chosen, chosen.data(data_dir, download))
        found = profile(distiller, batches, steps=steps, trace=out)
    session.console().print(found)
    if out:
        _write(found, out)


def _prepared(recipe, data):
    """Return the distiller of a recipe, compiled as its runs compile it, and what it is trained on."""
    import keras

    from keras_distill import Distiller
    from keras_distill.data.batches import Batches
    from keras_distill.losses.logits.soft_targets import LogitsDistillation

    data = data.first(recipe.samples).first(recipe.transfer_samples)
    if recipe.views is None:
        batches = Batches(*data.train, recipe.batch_size, shift=recipe.shift, flip=recipe.flip)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        batches = recipe.views(*data.train, recipe.batch_size, 0)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    soft = LogitsDistillation(temperature=recipe.temperature(recipe.student_epochs)(0))
    distiller = Distiller(recipe.teacher(), recipe.student(), soft, student_loss_weight=recipe.student_loss_weight)
    steps = min(len(batches), _STEPS_PER_CALL)
    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    distiller.compile(optimizer, loss, metrics=["accuracy"], steps_per_execution=steps)
    return distiller, batches


def _write(found, folder):
    import json
    import pathlib

    path = pathlib.Path(folder) / "profile.json"
    beside = path.with_name("profile.json.tmp")
    beside.write_text(json.dumps({**found.to_dict(), "trace": "."}, indent=1) + "\n")
    beside.replace(path)
    click.echo(f"The figures are in {path}; for the trace: tensorboard --logdir {folder}")
