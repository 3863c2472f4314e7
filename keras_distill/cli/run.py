"""`keras-distill run`: a recipe."""

import shlex

import click

from keras_distill._core.messages import expected
from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill run mnist --download; keras-distill run cifar10 --data-dir ~/tensorflow_datasets "
    "--quick; keras-distill run my_recipe.py --seeds 5 --out runs/mine"
)
@click.argument("recipe")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download what is not there.")
@click.option("--quick", is_flag=True, help="The recipe's quick form: fewer epochs and samples, weaker figures.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many students of each kind.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every training, in place of the recipe's.")
@click.option("--out", type=click.Path(), help="Folder for results, plots, logs and files.  [default: runs/RECIPE]")
@session.threads_option
@click.option("--strategy", default="none", show_default=True, help="none, mirrored or multiworker (by TF_CONFIG).")
@click.option("--devices", type=click.IntRange(1), help="Devices for mirrored; a CPU is split.  [default: all GPUs]")
@click.option("--workers", type=click.IntRange(1), help="Try multiworker out: start that many on this machine.")
@click.option("--join-seconds", type=float, default=120.0, show_default=True, help="How long to wait for workers.")
@click.pass_context
def command(
    context, recipe, data_dir, download, quick, seeds, epochs, out, threads, strategy, devices, workers, join_seconds
):
    """Run RECIPE: teacher, student alone, student distilled, over several seeds.

    RECIPE is digits, mnist, cifar10, function_matching or hinton2015, or the path of a Python file that defines RECIPE;
    such a file is run, like any Python script. Student alone and student distilled start from the same weights and see the same batches. All
    choices are made on a validation split; the test split is read once, at the end. The best student is exported,
    and every file verified.

    Under a strategy every training is shared by several devices (mirrored) or machines (multiworker: start the same
    command on each, with its TF_CONFIG). The first machine, the chief, measures, exports and writes.
    """
    if workers is not None:
        _launch(context, strategy, workers)
    with session.users_errors():
        session.start_tensorflow(threads)

        from keras_distill import distribution, recipes
        from keras_distill.cli.progress import TerminalProgress
        from keras_distill.recipes import tables

        strategy = distribution.strategy(strategy, devices, join_seconds)
        chosen = _with_epochs(recipes.load(recipe), quick, epochs)
        console = session.console()
        with TerminalProgress(console) as progress:
            result = recipes.run(
                chosen,
                out or f"runs/{chosen.name}",
                seeds=range(seeds),
                quick=quick,
                data_dir=data_dir,
                download=download,
                progress=progress if distribution.is_chief(strategy) else None,
                strategy=strategy,
            )
    if result is None:  # Of a worker other than the chief.
        return
    console.print(result)
    console.print(
        f"\n{tables.verdict(result.results)}\nEverything is in {result.folder}\n"
        f"As a page: keras-distill report {shlex.quote(str(result.folder))}",
        soft_wrap=True,
        highlight=False,
    )
    session.finish(result.passed)


def _launch(context, strategy, workers):
    """Run this command as several workers on this machine; leave with the exit code of the worst."""
    import sys

    from keras_distill.distribution.launcher import launch

    with session.users_errors():
        if strategy != "multiworker":
            raise ValueError(expected("--workers with --strategy multiworker", f"--strategy {strategy}"))
    command = [sys.executable, "-m", "keras_distill", "run", context.params["recipe"]]
    for option in context.command.params[1:]:
        value = context.params[option.name]
        if option.name != "workers" and value not in (None, False):
            command += [option.opts[0]] if option.is_flag else [option.opts[0], str(value)]
    raise SystemExit(launch(command, workers))


def _with_epochs(recipe, quick, epochs):
    import dataclasses

    if epochs is None:
        return recipe
    chosen = {"teacher_epochs": epochs, "student_epochs": epochs}
    # The quick form would put its own epochs back.
    return dataclasses.replace(recipe, **chosen, quick={**recipe.quick, **chosen} if quick else recipe.quick)
