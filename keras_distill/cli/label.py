"""`keras-distill label`: run a teacher once over a data set, and store its soft targets."""

import pathlib
from typing import Any

import click

from keras_distill._core.messages import expected
from keras_distill.cli import files, session

_DTYPES, _VALUES = ("float32", "float16", "int8"), ("logits", "log_probabilities")


@click.command(
    epilog="Examples: keras-distill label digits --directory targets/digits; keras-distill label teacher.keras --data "
    "train.npz --directory targets/mine; keras-distill label teacher.onnx --tfds mnist --scale 255 --directory "
    "targets/mnist"
)
@click.argument("teacher")
@session.directory_option("Folder of the store, local or remote (gs://).", required=True)
@click.option("--teacher-file", type=click.Path(), help="Teacher of a recipe.  [default: runs/RECIPE/teacher.keras]")
@click.option("--quick", is_flag=True, help="Use the quick form of the recipe, as its teacher did.")
@click.option("--data", type=click.Path(), help="Examples for a model: a NumPy file (.npz) with an array x.")
@click.option("--tfds", help="Examples for a model: a TensorFlow Datasets data set, NAME or NAME:VERSION.")
@click.option("--split", default="train", show_default=True, help="Split of the data set.")
@click.option("--scale", type=float, help="Divide the inputs of the data set by this number.")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download a missing data set.")
@click.option(
    "--outputs", default="logits", show_default=True, help="Outputs of a model file: logits or probabilities."
)
@click.option("--top-k", type=click.IntRange(1), help="Keep only the largest classes, and the mass of the rest.")
@click.option("--dtype", type=click.Choice(_DTYPES), default="float16", show_default=True)
@click.option("--values", type=click.Choice(_VALUES), default="logits", show_default=True)
@click.option(
    "--temperature", "temperatures", type=float, multiple=True, help="Of this mass; repeatable.  [default: 1]"
)
@click.option("--feature", "features", multiple=True, help="Name of a layer to store too, repeatable.")
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--shard-size", type=click.IntRange(1), help="Examples in a shard.  [default: about 64 MiB]")
@click.option("--overwrite", is_flag=True, help="Replace an existing store, once the new one is whole.")
def command(
    teacher: str,
    directory: str,
    teacher_file: str | None,
    quick: bool,
    data: str | None,
    tfds: str | None,
    split: str,
    scale: float | None,
    data_dir: str | None,
    download: bool,
    outputs: str,
    **options: Any,
) -> None:
    """Run TEACHER once on every example, and store its soft targets.

    TEACHER is a recipe, whose trained teacher labels its transfer set, or a model: a .keras, .tflite or .onnx file or
    the folder of a SavedModel, which labels --data or --tfds. After an interruption, the same command resumes.
    """
    with session.report_users_errors():
        session.start_tensorflow()
        from keras_distill import targets

        if _is_recipe(teacher):
            model, examples, facts = _load_recipe(teacher, teacher_file, quick, data_dir, download)
        elif data is not None and tfds is None:
            model = _load_model(teacher, outputs)
            examples, facts = files.samples(data), {"name": pathlib.Path(data).name}
        elif tfds is not None and data is None:
            model = _load_model(teacher, outputs)
            examples, facts = _load_tfds(tfds, split, scale, data_dir, download)
        else:
            raise ValueError(expected("one of --data and --tfds for a model", "both" if data else "neither"))
        options["temperatures"] = options["temperatures"] or (1.0,)
        store = targets.write(model, examples, directory, **facts, **options, progress=True)
    console = session.console()
    console.print(store.describe(), soft_wrap=True, highlight=False, markup=False)
    console.print(f'\nTrain on it: store = keras_distill.targets.open("{directory}"), Distiller(teacher=store, ...)')


def _is_recipe(teacher: str) -> bool:
    return teacher.endswith(".py") or not (pathlib.Path(teacher).suffix or pathlib.Path(teacher).is_dir())


def _load_recipe(name: str, file: str | None, quick: bool, data_dir: str | None, download: bool) -> tuple:
    """Return the teacher of a recipe, its transfer set, and the facts about it for the manifest."""
    from keras_distill import recipes

    recipe = recipes.load(name)
    recipe = recipe.quickened() if quick else recipe
    path = pathlib.Path(file or f"runs/{recipe.name}/teacher.keras")
    if not path.is_file():
        fix = f"Train it: keras-distill run {name}. Or pass its path as --teacher-file."
        raise FileNotFoundError(expected(f"the trained teacher of {recipe.name!r}", f"{path}, which is no file", fix))
    data = recipe.data(data_dir, download).first(recipe.samples).first(recipe.transfer_samples)
    facts = {"name": f"{recipe.name}, transfer set", "class_names": data.class_names}
    if recipe.shift or recipe.flip or recipe.views:
        facts["preprocessing"] = "as the recipe loads them, before they are shifted, mirrored or mixed"
    return _load_model(path, "logits"), data.train, facts


def _load_model(path: str | pathlib.Path, outputs: str) -> Any:
    from keras_distill.distiller.model import Distiller  # Registers the class with Keras, if the file holds one.
    from keras_distill.teachers.loading import as_teacher

    try:
        model = as_teacher(path, outputs=outputs)
    except (ValueError, TypeError, OSError) as error:
        if str(error).startswith("Expected "):
            raise
        raise ValueError(
            expected(f"{path} to be a model that loads in safe mode", str(error).splitlines()[0])
        ) from error
    return model.student if isinstance(model, Distiller) else model


def _load_tfds(name: str, split: str, scale: float | None, data_dir: str | None, download: bool) -> tuple:
    """Return the examples of a TensorFlow Datasets data set in the order of its files, and the facts about them."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(expected("the name of a TensorFlow Datasets data set", repr(name))) from error
    if download:
        builder.download_and_prepare()
    if not builder.is_prepared():
        fix = "Pass the folder that holds it (--data-dir), or download it (--download)."
        received = f"no such data set in {builder.data_dir}"
        raise FileNotFoundError(expected(f"{name} prepared by TensorFlow Datasets", received, fix))
    dataset = builder.as_dataset(split=split, shuffle_files=False, as_supervised=True)
    facts = {"name": f"{builder.info.full_name}/{split}"}
    if scale is not None:
        dataset = dataset.map(lambda x, y: (tf.cast(x, tf.float32) / scale, y), num_parallel_calls=tf.data.AUTOTUNE)
        facts["preprocessing"] = f"float32, divided by {scale:g}"
    label = builder.info.features[builder.info.supervised_keys[1]]
    return dataset, {**facts, "class_names": getattr(label, "names", None)}
