"""`keras-distill label`: ask a teacher once, and keep what it says."""

import pathlib

import click

from keras_distill._core.messages import expected
from keras_distill.cli import files, session

_DTYPES, _VALUES = ("float32", "float16", "int8"), ("logits", "log_probabilities")


@click.command(
    epilog="Examples: keras-distill label digits --out targets/digits; keras-distill label teacher.keras --data "
    "train.npz --out targets/mine; keras-distill label teacher.onnx --tfds mnist --scale 255 --out targets/mnist"
)
@click.argument("teacher")
@click.option("--out", type=click.Path(), required=True, help="Folder of the store; gs:// and the like work too.")
@click.option("--teacher-file", type=click.Path(), help="A recipe's teacher.  [default: runs/RECIPE/teacher.keras]")
@click.option("--quick", is_flag=True, help="The quick form of the recipe, as its teacher was trained.")
@click.option("--data", type=click.Path(), help="Examples for a model: a NumPy file (.npz) with x.")
@click.option("--tfds", help="Examples for a model: a set of TensorFlow Datasets, as NAME or NAME:VERSION.")
@click.option("--split", default="train", show_default=True, help="Split of the set.")
@click.option("--scale", type=float, help="Divide the inputs of the set by this number.")
@click.option("--data-dir", type=click.Path(), help="Folder of data sets prepared by TensorFlow Datasets.")
@click.option("--download", is_flag=True, help="Let TensorFlow Datasets download what is not there.")
@click.option("--outputs", default="logits", show_default=True, help="What a file gives: logits or probabilities.")
@click.option("--top-k", type=click.IntRange(1), help="Keep the greatest classes alone, and the mass of the rest.")
@click.option("--dtype", type=click.Choice(_DTYPES), default="float16", show_default=True)
@click.option("--values", type=click.Choice(_VALUES), default="logits", show_default=True)
@click.option("--temperature", "temperatures", type=float, multiple=True, help="Where the mass is kept.  [default: 1]")
@click.option("--feature", "features", multiple=True, help="Name of a layer to keep as well; more than once for more.")
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--shard-size", type=click.IntRange(1), help="Examples in a shard.  [default: about 64 MiB]")
@click.option("--overwrite", is_flag=True, help="Replace a store that is there.")
def command(teacher, out, teacher_file, quick, data, tfds, split, scale, data_dir, download, outputs, **options):
    """Ask TEACHER about every example once, and store its soft targets.

    TEACHER is a recipe, whose trained teacher is asked about its transfer set, or a model: a .keras, .tflite or .onnx
    file or the folder of a SavedModel, asked about --data or --tfds. Stopped anywhere, the same command goes on where
    it was.
    """
    with session.users_errors():
        session.start_tensorflow()
        from keras_distill import targets

        if _is_recipe(teacher):
            model, examples, facts = _of_recipe(teacher, teacher_file, quick, data_dir, download)
        elif (data is None) == (tfds is None):
            raise ValueError(expected("one of --data and --tfds for a model", "both" if data else "neither"))
        else:
            model = _model(teacher, outputs)
            if data:
                examples, facts = files.samples(data), {"name": pathlib.Path(data).name}
            else:
                examples, facts = _prepared(tfds, split, scale, data_dir, download)
        options["temperatures"] = options["temperatures"] or (1.0,)
        store = targets.write(model, examples, out, **facts, **options, progress=True)
    console = session.console()
    console.print(store.describe(), soft_wrap=True, highlight=False, markup=False)
    console.print(f'\nLearn from it: store = keras_distill.targets.open("{out}"), Distiller(teacher=store, ...)')


def _is_recipe(teacher):
    return teacher.endswith(".py") or not (pathlib.Path(teacher).suffix or pathlib.Path(teacher).is_dir())


def _of_recipe(name, file, quick, data_dir, download):
    """Return the teacher of a recipe, its transfer set, and what the store says of it."""
    from keras_distill import recipes

    recipe = recipes.load(name)
    recipe = recipe.quickened() if quick else recipe
    file = pathlib.Path(file or f"runs/{recipe.name}/teacher.keras")
    if not file.is_file():
        fix = f"Train it: keras-distill run {name}. Or say where it is by --teacher-file."
        raise FileNotFoundError(
            expected(f"the trained teacher of {recipe.name!r}", f"{file}, where there is none", fix)
        )
    data = recipe.data(data_dir, download).first(recipe.samples).first(recipe.transfer_samples)
    facts = {"name": f"{recipe.name}, transfer set", "class_names": data.class_names}
    if recipe.shift or recipe.flip or recipe.views:
        facts["preprocessing"] = "as the recipe loads them, before they are moved, mirrored or mixed"
    return _model(file, "logits"), data.train, facts


def _model(path, outputs):
    from keras_distill.distiller.model import Distiller  # So that Keras knows it, should this be one.
    from keras_distill.teachers.loading import as_teacher

    try:
        model = as_teacher(path, outputs=outputs)
    except (TypeError, OSError) as error:
        raise ValueError(
            expected(f"{path} to be a model that loads in safe mode", str(error).splitlines()[0])
        ) from error
    return model.student if isinstance(model, Distiller) else model


def _prepared(name, split, scale, data_dir, download):
    """Return examples of TensorFlow Datasets one by one, in the order of their files."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(expected("a set of TensorFlow Datasets", repr(name))) from error
    if download:
        builder.download_and_prepare()
    if not builder.is_prepared():
        fix = "Name the folder that has it (--data-dir), or let it be fetched (--download)."
        raise FileNotFoundError(expected(f"{name} prepared by TensorFlow Datasets", f"none in {builder.data_dir}", fix))
    dataset = builder.as_dataset(split=split, shuffle_files=False, as_supervised=True)
    facts = {"name": f"{builder.info.full_name}/{split}"}
    if scale is not None:
        dataset = dataset.map(lambda x, y: (tf.cast(x, tf.float32) / scale, y), num_parallel_calls=tf.data.AUTOTUNE)
        facts["preprocessing"] = f"float32, divided by {scale:g}"
    label = builder.info.features[builder.info.supervised_keys[1]]
    return dataset, {**facts, "class_names": getattr(label, "names", None)}
