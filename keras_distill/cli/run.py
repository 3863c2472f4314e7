"""`keras-distill run`: a recipe."""

import click

from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill run mnist --download; keras-distill run cifar10 --data-dir ../shared/data/tfds "
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
def command(recipe, data_dir, download, quick, seeds, epochs, out, threads):
    """Run RECIPE: teacher, student alone, student distilled, over several seeds.

    RECIPE is digits, mnist or cifar10, or the path of a Python file that defines RECIPE; such a file is run, like
    any Python script. Student alone and student distilled start from the same weights and see the same batches. All
    choices are made on a validation split; the test split is read once, at the end. The best student is exported,
    and every file verified.
    """
    with session.users_errors():
        session.start_tensorflow(threads)

        from keras_distill import recipes
        from keras_distill.cli.progress import TerminalProgress
        from keras_distill.report import tables

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
                progress=progress,
            )
    console.print(result)
    console.print(
        f"\n{tables.verdict(result.results)}\nEverything is in {result.folder}", soft_wrap=True, highlight=False
    )
    session.finish(result.passed)


def _with_epochs(recipe, quick, epochs):
    import dataclasses

    if epochs is None:
        return recipe
    chosen = {"teacher_epochs": epochs, "student_epochs": epochs}
    # The quick form would put its own epochs back.
    return dataclasses.replace(recipe, **chosen, quick={**recipe.quick, **chosen} if quick else recipe.quick)
