"""Write the files that a version of the package leaves behind, to be kept: a later version has to go on with them.

Command     python -m tests.compatibility.make          (writes tests/compatibility/files, replacing it)
Cost        two minutes on 2 cores
Written by  version 0.1.0 of keras_distill, see `expected.json` for the commit and the versions of its libraries

The kept files are not written again when the code changes: that they are old is their purpose. A version that changes
what it writes keeps its own beside them. Beside the files are `inputs.npz`, and what their writer did next: what each
model answers, and two more epochs of training, in the very process that had saved it (`expected.npz`,
`expected.json`). Everything goes through the package's public names.

Two things are changed after writing: archives are compressed again, which Keras does not do, and in that of the stored
teacher the absolute path of its store is made relative.
"""

import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import keras
import numpy as np
from keras import layers

import keras_distill as kd
from tests.compatibility import cases
from tests.compatibility.cases import CLASSES, FEATURES, FILES, LENGTH, SIDE, VOCABULARY

ROOT = pathlib.Path(__file__).parents[2]
LIBRARIES = ("keras_distill", "keras", "tensorflow", "numpy")
CROSS_ENTROPY = "sparse_categorical_crossentropy"


# Models --------------------------------------------------------------------------------------------------------------


def mlp(width, name, classes=CLASSES, head=None, dropout=0.0):
    """Build a dense net on vectors."""
    hidden = [keras.Input((FEATURES,)), layers.Dense(width, activation="relu", name="hidden")]
    hidden += [layers.Dropout(dropout, name="dropout")] if dropout else []
    return keras.Sequential([*hidden, layers.Dense(classes, activation=head, name="logits")], name=name)


def convnet(width, name, side=SIDE, classes=CLASSES):
    """Build a net of two stages on images."""

    def stage(x, number, strides):
        x = layers.Conv2D(width * number, 3, strides, padding="same", use_bias=False, name=f"conv_{number}")(x)
        return layers.ReLU(name=f"block_{number}")(layers.BatchNormalization(name=f"norm_{number}")(x))

    image = keras.Input((side, side, 1), name="image")
    x = stage(stage(image, 1, 1), 2, 2)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=name)


def language_model(width, name):
    """Build a net that answers each token."""
    first = [keras.Input((LENGTH,), dtype="int32"), layers.Embedding(VOCABULARY, width, name="embedding")]
    hidden = layers.Dense(width, activation="relu", name="hidden")
    return keras.Sequential([*first, hidden, layers.Dense(VOCABULARY, name="logits")], name=name)


def images_to_quantize():
    """Build a net of the layers that quantization-aware students have for images."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.BatchNormalization(name="first_norm")(image)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = layers.ReLU(6.0, name="conv_relu")(layers.BatchNormalization(name="conv_norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", activation="silu", name="depthwise")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="learned_relu")(x)
    x = layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(image, layers.Dense(CLASSES, name="logits")(x), name="student")


def sequences_to_quantize():
    """Build a net of the layers that quantization-aware students have for sequences."""
    sequence = keras.Input((LENGTH, FEATURES), name="sequence")
    x = layers.Conv1D(8, 3, padding="same", activation=kd.quantization.gelu_tanh, name="conv")(sequence)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm")(layers.Add(name="sum")([x, attended]))
    x = layers.GlobalAveragePooling1D(name="embedding")(x)
    return keras.Model(sequence, layers.Dense(CLASSES, name="logits")(x), name="student")


# Distillers, trained -------------------------------------------------------------------------------------------------


def scheduled(inputs, folder):
    """One loss of logits, a temperature in mid-schedule, dropout, metrics of labels and of fidelity."""
    loss = kd.losses.LogitsDistillation(temperature=8.0)
    distiller = kd.Distiller(mlp(12, "teacher"), mlp(5, "student", dropout=0.3), loss, student_loss_weight=0.3)
    metrics = ["accuracy", kd.metrics.NegativeLogLikelihood(), kd.metrics.BrierScore()]
    metrics += [kd.metrics.ExpectedCalibrationError(bins=5), kd.metrics.TeacherDivergence(temperature=2.0)]
    metrics += [kd.metrics.ClassAgreement(CLASSES), kd.metrics.DarkKnowledgeCorrelation()]
    distiller.compile(keras.optimizers.Adam(0.01), CROSS_ENTROPY, metrics=metrics, fidelity=True, jit_compile=False)
    return distiller


def every_logit_loss(inputs, folder):
    """All losses of logits in one list, with weights of their own."""
    names = [name for name, method in kd.losses.METHODS.items() if method.family == "logits"]
    losses = [*names, kd.losses.LogitMatching(), kd.losses.LogitsDistillation(3.0, "mse", name="squares")]
    weights = [0.02 + 0.002 * number for number in range(len(losses))]
    distiller = kd.Distiller(mlp(12, "teacher"), mlp(5, "student", head="softmax"), losses, weights)
    return eager(distiller, keras.optimizers.Adam(0.005))


def every_feature_loss(inputs, folder):
    """All losses of features that need no index, with whatever they train beside the student."""
    skipped = ("fitnet", "ft", "crd")
    names = [name for name, method in kd.losses.METHODS.items() if method.family != "logits" and name not in skipped]
    paraphraser = kd.features.Paraphraser(0.5)
    named = {"teacher_layer_name": "block_2", "student_layer_name": "block_2"}
    losses = [
        *names,
        kd.losses.FT(paraphraser=paraphraser, **named),
        kd.losses.FeatureDistillation(**named),
        kd.losses.FeatureDistillation("mae", **named, adapter="regressor", name="regressed"),
        kd.losses.FeatureDistillation(
            teacher_layer_name=["block_1", "block_2"], student_layer_name=["block_1", "block_2"], name="two_layers"
        ),
    ]
    teacher, student = convnet(5, "teacher"), convnet(3, "student")
    teacher.get_layer("norm_1").set_weights([np.linspace(*ends, 5) for ends in NORMS])
    teacher.get_layer("norm_2").set_weights([np.linspace(*ends, 10) for ends in NORMS])
    weights = [1e-5 if loss == "ofd" else 0.01 for loss in losses]  # It is the sum over all channels and positions.
    return eager(kd.Distiller(teacher, student, losses, weights))


NORMS = ((0.5, 1.5), (-0.3, 0.3), (-0.1, 0.1), (0.5, 2.0))
"""Ends of gamma, beta, mean and variance: a normalization that has been trained."""


def learned_temperature(inputs, folder):
    """A temperature that is learned and ramped up by epochs, and a teacher that is not trusted everywhere."""
    trust = kd.teachers.Trust(min_confidence=0.4, contradicting="replace", low_confidence="weigh")
    losses = [kd.losses.CTKD(ramp_epochs=4), kd.losses.get("dkd", beta=2.0)]
    return eager(kd.Distiller(mlp(12, "teacher"), mlp(5, "student"), losses, [1.0, 0.5], trust=trust))


def contrastive(inputs, folder):
    """A memory of all samples."""
    loss = kd.losses.CRD(dataset_size=cases.EXAMPLES, embedding_width=4)
    return eager(kd.Distiller(convnet(4, "teacher"), convnet(3, "student"), loss, [0.05]))


def ensemble(inputs, folder):
    """Three members: with preprocessing and an order of classes, with merged classes, and plain with a softmax."""
    return eager(kd.Distiller(combined_teacher(), convnet(3, "student"), kd.losses.LogitsDistillation(4.0)))


def combined_teacher():
    """Build the ensemble."""
    small = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), layers.Rescaling(0.5), layers.Cropping2D(1)], name="smaller"
    )
    member = kd.teachers.Member(convnet(3, "cropped", side=SIDE - 2), preprocessing=small, classes=[2, 0, 3, 1])
    mapped = kd.teachers.map_classes(convnet(2, "finer", classes=6), [0, 0, 1, 2, 3, 3])
    plain = convnet(3, "plain")
    plain = keras.Model(plain.input, layers.Softmax(name="probabilities")(plain.output), name="plain")
    return kd.teachers.Ensemble([member, mapped, plain], weights=[2.0, 1.0, 1.0])


def specialists(inputs, folder):
    """A generalist and two specialists."""
    experts = [mlp(6, "first", classes=3), mlp(6, "second", classes=3)]
    teacher = kd.teachers.Specialists(mlp(12, "generalist"), experts, clusters=[[0, 1], [1, 3]], top=2, steps=50)
    return eager(kd.Distiller(teacher, mlp(5, "student"), kd.losses.LogitsDistillation(2.0)))


def stored(inputs, folder):
    """A teacher that is a store, with one of its layers."""
    losses = [kd.losses.LogitsDistillation(4.0), kd.losses.FeatureDistillation("mse", "hidden", "hidden")]
    store = kd.targets.open(folder / "stores" / "features")
    return eager(kd.Distiller(store, mlp(5, "student"), losses, [1.0, 0.1]))


def stored_top_k(inputs, folder):
    """A teacher that is a store of its two greatest classes."""
    store = kd.targets.open(folder / "stores" / "top_k")
    return eager(kd.Distiller(store, mlp(5, "student"), kd.losses.LogitsDistillation(2.0)))


def files_as_teachers(inputs, folder):
    """A TFLite file, a SavedModel and a function as the members of an ensemble."""
    members = [
        kd.teachers.TFLiteTeacher("export/student.tflite"),
        kd.teachers.SavedModelTeacher("export/saved_model"),
        kd.teachers.CallableTeacher(cases.answer_by_rule, input_shape=(FEATURES,), classes=CLASSES),
    ]
    teacher = kd.teachers.Ensemble(members, combine="geometric")
    return eager(kd.Distiller(teacher, mlp(5, "student"), "kd"))


def onnx_as_teacher(inputs, folder):
    """An ONNX file."""
    return eager(kd.Distiller(kd.teachers.ONNXTeacher("export/student.onnx"), mlp(5, "student"), "kd"))


def vocabulary(inputs, folder):
    """A language model whose logits are never held."""
    loss = kd.losses.FusedVocabulary(temperature=2.0, teacher_head="logits", chunk=20)
    distiller = kd.Distiller(language_model(8, "teacher"), language_model(4, "student"), loss, student_loss_weight=0.25)
    distiller.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    return distiller


def mutual(inputs, folder):
    """Three students that teach each other."""
    students = [mlp(width, f"peer_{width}") for width in (5, 4, 3)]
    model = kd.stages.MutualLearning(students, ["kd", "dkd"], [1.0, 0.5], student_loss_weight=0.4)
    model.compile("adam", CROSS_ENTROPY, metrics=["accuracy"], run_eagerly=True)
    return model


def quantized_images(inputs, folder):
    """A student of int8 arithmetic, its ranges learned."""
    rules = {layers.PReLU: kd.quantization.rounded_weights}
    student = images_to_quantize()
    student.get_layer("conv_norm").set_weights([np.linspace(*ends, 4) for ends in NORMS])
    student = kd.quantization.quantize_aware(student, ranges="learned", custom_layers=rules)
    kd.quantization.calibrate(student, inputs["images"])
    return eager(kd.Distiller(convnet(4, "teacher"), student, "kd"))


def quantized_sequences(inputs, folder):
    """A student of int8 arithmetic with attention, its ranges moving averages."""
    student = kd.quantization.quantize_aware(sequences_to_quantize(), momentum=0.9)
    sequence = keras.Input((LENGTH, FEATURES))
    teacher = keras.Model(sequence, layers.Dense(CLASSES)(layers.Flatten()(sequence)), name="teacher")
    return eager(kd.Distiller(teacher, student, "kd"))


def eager(distiller, optimizer=None):
    """Compile for training step by step: what is saved is the same, and no graph is traced."""
    optimizer = optimizer or keras.optimizers.SGD(0.02, momentum=0.9)
    distiller.compile(optimizer, CROSS_ENTROPY, metrics=["accuracy"], run_eagerly=True)
    return distiller


# Files ---------------------------------------------------------------------------------------------------------------


def write_stores(inputs, folder):
    """Write the stores: dense with a layer, top-k, int8, of an ensemble, of sequences, of views, and a part of one."""
    stores, x = folder / "stores", inputs["vectors"]
    teacher = mlp(12, "teacher")
    teacher.save(folder / "store_teacher.keras")
    common = {"batch_size": 8, "shard_size": 16, "name": "kept vectors", "class_names": list("abcd")}
    kd.targets.write(teacher, x, stores / "features", features=["hidden"], **common)
    top_k = {"top_k": 2, "values": "log_probabilities", "temperatures": (1.0, 4.0)}
    kd.targets.write(teacher, x, stores / "top_k", dtype="float32", **top_k, **common)
    kd.targets.write(teacher, x, stores / "int8", dtype="int8", **common)
    speaking = language_model(8, "speaking")
    speaking.save(folder / "store_language_model.keras")
    tokens = cases.padded_tokens(inputs)
    kd.targets.write(speaking, tokens, stores / "sequences", padding=0, batch_size=8, shard_size=16)
    members = combined_teacher()
    members.save(folder / "store_ensemble.keras")
    kd.targets.write(members, inputs["images"], stores / "ensemble", temperatures=(4.0,), batch_size=16)
    small = inputs["images"][:8], inputs["labels"][:8]
    kd.targets.write(cases.sum_pixels, small, stores / "views", replay=cases.replay(small), batch_size=8)
    kd.targets.write(cases.answer_by_rule, x, stores / "whole", **common)
    write_in_part(inputs, stores / "part", common)


def write_in_part(inputs, path, options):
    """Write a store in another process that is killed after the second of four shards."""
    script = f"""
import json, os, signal, sys
import numpy as np
from tests.compatibility import cases
from keras_distill import targets

def watch(done, total):
    if done > 24:  # Of 32, and shards of 16 are written in the background: the first is on the disk.
        while not os.path.exists({str(path / "shard-00000" / "shard.json")!r}):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

targets.write(cases.answer_by_rule, cases.make_inputs()["vectors"], {str(path)!r}, progress=watch, **{options!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -9, killed.returncode


def write_export(inputs, folder):
    """Export a student to a file of each kind."""
    student = mlp(5, "student")
    student.save(folder / "exported_student.keras")
    formats = ("saved_model", "tflite", "tflite_int8", "onnx", "c_array")
    data = inputs["vectors"]
    report = kd.export.export(student, folder / "export", formats, data, labels=list("abcd"), min_agreement=0.8)
    assert report.passed, report


def write_run(folder):
    """Run the recipe beside this file and its report; what only people look at is left out."""
    from tests.compatibility import recipe

    run = kd.recipes.run(recipe.RECIPE, folder / "run", seeds=(0, 1), formats=("tflite",))
    write_report = getattr(kd.report, "write", kd.report)
    report = write_report(run, folder / "reports")
    for name in ("logs", "plots"):
        shutil.rmtree(folder / "run" / name)
    shutil.copy(report.paths["json"], folder / "report.json")
    shutil.rmtree(folder / "reports")


def write_objects(folder):
    """Write the configuration of one object of each registered class that no model above holds."""
    from keras_distill.quantization import FakeQuantization

    shapes = {"teacher": (None, 4, 4, 5), "student": (None, 4, 4, 3)}
    made = adapters_of(shapes)
    made += [kd.features.Paraphraser(0.5), kd.features.Translator(2), FakeQuantization(), kd.quantization.gelu_tanh]
    made += [kd.features.AttentionBasedFusion(4, 5, (4, 4), fuse=True), kd.features.ReviewFusion([shapes["teacher"]])]
    made += [kd.metrics.Agreement(), kd.metrics.Labelled(keras.metrics.SparseCategoricalAccuracy())]
    records = [keras.saving.serialize_keras_object(each) for each in made]
    (folder / "objects.json").write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


def adapters_of(shapes):
    """Return what the losses train beside the student, of classes that have no public name."""
    shapes, several = tuple(shapes.values()), [(None, 8, 8, 3), (None, 4, 4, 6)]
    found = [
        kd.losses.FeatureDistillation(adapter="regressor").make_adapter(*shapes),
        kd.losses.FeatureDistillation(adapter="regressor").make_adapter([shapes[0]] * 2, [shapes[1]] * 2),
        kd.losses.OFD(margin=[[-0.5] * 5]).make_adapter([shapes[0]], [shapes[1]]),
        kd.losses.AB().make_adapter(*shapes),
        kd.losses.AB().make_adapter(several, [(None, 8, 8, 2), (None, 4, 4, 4)]),
        kd.losses.VID().make_adapter(*shapes),
        kd.losses.CTKD(ramp_epochs=4).make_adapter(None, None),
        kd.losses.CRD(dataset_size=8, embedding_width=4).make_adapter((None, 5), (None, 3)),
        kd.losses.FusedVocabulary().make_adapter(None, None),
    ]
    return [each for each in found if each is not None]


def compress(path, folder):
    """Compress an archive of Keras, with the path of a store made relative to the folder of the files."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["config.json"] = contents["config.json"].replace(f"{folder}/".encode(), b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def main():
    """Write everything beside, then in the place of what is there."""
    keras.utils.set_random_seed(11)
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work).resolve() / "files"
        folder.mkdir()
        os.chdir(folder)  # Paths of teachers that are files are kept as they are given.
        inputs = cases.make_inputs()
        np.savez_compressed("inputs.npz", **inputs)
        write_export(inputs, folder)
        write_stores(inputs, folder)
        arrays, logs = write_models(inputs, folder)
        arrays |= read_stores(folder)
        arrays["export"] = cases.outputs(keras.models.load_model("exported_student.keras"), inputs["vectors"])[0]
        write_objects(folder)
        write_run(folder)
        for path in folder.glob("*.keras"):
            compress(path, folder)
        np.savez_compressed("expected.npz", **arrays)
        record = {"commit": commit(), "versions": {name: importlib.metadata.version(name) for name in LIBRARIES}}
        record |= {"logs": logs, "registered": registered()}
        pathlib.Path("expected.json").write_text(json.dumps(record, indent=1) + "\n")
        os.chdir(ROOT)
        shutil.rmtree(FILES, ignore_errors=True)
        shutil.copytree(folder, FILES)


def write_models(inputs, folder):
    """Train, save, go on; return what each case answered, and its logs."""
    arrays, logs = {}, {}
    for case, kind in cases.KIND.items():
        model = globals()[case](inputs, folder)
        for _ in range(2):
            cases.go_on(case, model, cases.batches(case, inputs, folder))
        model.save(f"{case}.keras")
        if case in ("scheduled", "learned_temperature"):
            model.save_weights(f"{case}.weights.h5")
        found = {"saved": cases.student_weights(model), "outputs": cases.outputs(model, inputs[kind])}
        if case not in ("stored", "stored_top_k", "mutual"):
            found["teacher"] = cases.outputs(model.teacher, inputs[kind])
        logs[case] = cases.go_on(case, model, cases.batches(case, inputs, folder))
        found["trained"] = cases.student_weights(model)
        found = {f"{name}/{number}": each for name, all in found.items() for number, each in enumerate(all)}
        arrays |= {f"{case}/{name}": each for name, each in found.items()}
    return arrays, logs


def read_stores(folder):
    """Return all that is in the finished stores."""
    found = {}
    for path in sorted((folder / "stores").iterdir()):
        if (path / "manifest.json").exists():
            store = kd.targets.open(path)
            fields = {"keys": store.keys, **store[:]}
            found |= {f"stores/{path.name}/{name}": field for name, field in fields.items()}
    return found


def registered():
    """Return the names under which Keras knows the package's classes and functions."""
    for room in kd.__all__:
        getattr(kd, room)
    return sorted(name for name in keras.saving.get_custom_objects() if name.startswith("keras_distill>"))


def commit():
    """Return the commit that writes."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return told.stdout.strip()


if __name__ == "__main__":
    main()
