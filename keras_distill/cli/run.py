"""`keras-distill run`: run a recipe."""

import shlex
from typing import Any

import click

from keras_distill._core.messages import expected
from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill run mnist --download; keras-distill run cifar10 --data-dir ~/tensorflow_datasets "
    "--quick; keras-distill run my_recipe.py --seeds 5 --directory runs/mine"
)
@click.argument("recipe")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download missing data.")
@click.option("--quick", is_flag=True, help="The recipe's quick form: fewer epochs and samples, lower accuracies.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many students of each kind.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every training, in place of the recipe's.")
@session.directory_option("Folder for results, plots, logs and files.  [default: runs/RECIPE]")
@session.threads_option
@click.option("--strategy", default="none", show_default=True, help="none, mirrored or multiworker (by TF_CONFIG).")
@click.option(
    "--devices", type=click.IntRange(1), help="Number of devices for mirrored; a CPU is split.  [default: all GPUs]"
)
@click.option(
    "--workers", type=click.IntRange(1), help="Start this number of workers on this machine, to try multiworker."
)
@click.option("--join-seconds", type=float, default=120.0, show_default=True, help="How long to wait for workers.")
@click.pass_context
def command(
    context: click.Context,
    recipe: str,
    data_dir: str | None,
    download: bool,
    quick: bool,
    seeds: int,
    epochs: int | None,
    directory: str | None,
    threads: int,
    strategy: str,
    devices: int | None,
    workers: int | None,
    join_seconds: float,
) -> None:
    """Run RECIPE: teacher, student alone, student distilled, over several seeds.

    RECIPE is digits, mnist, cifar10, function_matching or hinton2015, or the path of a Python file that defines RECIPE;
    the command runs that file like any Python script. Student alone and student distilled start from the same weights
    and see the same batches. All choices are made on a validation split; the test split is read once, at the end. The
    best student is exported, and every file is verified.

    A strategy shares every training among several devices (mirrored) or machines (multiworker: start the same command
    on each, with its TF_CONFIG). The first machine, the chief, measures, exports and writes.
    """
    if workers is not None:
        _launch(context, strategy, workers)
    with session.report_users_errors():
        session.start_tensorflow(threads)

        from keras_distill import distribution, recipes
        from keras_distill.cli.progress import TerminalProgress
        from keras_distill.recipes import tables

        shared: Any = distribution.strategy(strategy, devices, join_seconds)
        chosen = recipes.load(recipe) if epochs is None else _set_epochs(recipes.load(recipe), quick, epochs)
        console = session.console()
        with TerminalProgress(console) as progress:
            result = recipes.run(
                chosen,
                directory or f"runs/{chosen.name}",
                seeds=range(seeds),
                quick=quick,
                data_dir=data_dir,
                download=download,
                progress=progress if distribution.is_chief(shared) else None,
                strategy=shared,
            )
    if result is None:  # This is a worker other than the chief.
        return
    console.print(result)
    console.print(
        f"\n{tables.verdict(result.record)}\nEverything is in {result.folder}\n"
        f"As a page: keras-distill report {shlex.quote(str(result.folder))}",
        soft_wrap=True,
        highlight=False,
    )
    session.finish(result.passed)


def _launch(context: click.Context, strategy: str, workers: int) -> None:
    """Run this command as several workers on this machine; exit with the worst of their exit codes."""
    import sys

    from keras_distill.distribution.launcher import launch

    with session.report_users_errors():
        if strategy != "multiworker":
            raise ValueError(expected("--workers with --strategy multiworker", f"--strategy {strategy}"))
    command = [sys.executable, "-m", "keras_distill", "run", context.params["recipe"]]
    for option in context.command.params[1:]:
        value = context.params[option.name]
        if option.name != "workers" and value not in (None, False):
            command += [option.opts[0]] if getattr(option, "is_flag", False) else [option.opts[0], str(value)]
    raise SystemExit(launch(command, workers))


def _set_epochs(recipe: Any, quick: bool, epochs: int) -> Any:
    import dataclasses

    chosen = {"teacher_epochs": epochs, "student_epochs": epochs}
    # The quick form would otherwise restore its own epochs.
    return dataclasses.replace(recipe, **chosen, quick={**recipe.quick, **chosen} if quick else recipe.quick)
