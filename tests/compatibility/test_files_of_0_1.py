"""Files that version 0.1 wrote load, answer as they did, and go on: see `make.py`, which wrote them.

Nothing but public names and the names in the files themselves is used here, whatever moves inside the package.
"""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from tests.compatibility import cases
from tests.compatibility.cases import FILES, KIND

pytestmark = pytest.mark.tensorflow_only
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
ARCHIVES = sorted(path.name for path in FILES.glob("*.keras"))

# Processors differ in the last bits, and two epochs of training carry them on. What is rounded to one of 256 values
# may be rounded to the next one: a student in int8 arithmetic may be off by some steps.
EXACT = {"rtol": 2e-5, "atol": 2e-6}
INT8 = {"rtol": 0.03, "atol": 0.03}


def allowed(case):
    return INT8 if case.startswith("quantized") else EXACT


@pytest.fixture(scope="module")
def inputs():
    return cases.read_inputs()


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "expected.npz", allow_pickle=False) as held:
        return dict(held)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A copy of the files, and in it the current directory: teachers that are files are kept by a relative path."""
    folder = tmp_path / "files"
    shutil.copytree(FILES, folder)
    monkeypatch.chdir(folder)
    return folder


def listed(expected, prefix):
    """Return the arrays whose names are a prefix and a number, in their order."""
    count = sum(re.fullmatch(rf"{re.escape(prefix)}/\d+", name) is not None for name in expected)
    assert count > 0, prefix
    return [expected[f"{prefix}/{number}"] for number in range(count)]


def assert_all_close(found, wanted, **tolerance):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one, other, **tolerance)


def assert_same_logs(found, wanted, **tolerance):
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        assert_allclose(found[name], values, **tolerance, err_msg=name)


# Models --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", KIND)
@pytest.mark.slow
def test_a_distiller_answers_as_it_did_and_goes_on(case, files, inputs, expected):
    if case == "onnx_as_teacher":
        pytest.importorskip("onnxruntime")
    model = keras.models.load_model(f"{case}.keras")
    for one, other in zip(cases.student_weights(model), listed(expected, f"{case}/saved"), strict=True):
        assert_array_equal(one, other)
    x = inputs[KIND[case]]
    assert_all_close(cases.outputs(model, x), listed(expected, f"{case}/outputs"), **allowed(case))
    if f"{case}/teacher/0" in expected:
        assert_all_close(cases.outputs(model.teacher, x), listed(expected, f"{case}/teacher"), **EXACT)
    assert int(model.epochs_trained) == 4
    logs = cases.go_on(case, model, cases.batches(case, inputs, files))
    assert_same_logs(logs, EXPECTED["logs"][case], **allowed(case))
    assert_all_close(cases.student_weights(model), listed(expected, f"{case}/trained"), **allowed(case))


@pytest.mark.parametrize("case", ["scheduled", "learned_temperature"])
def test_a_checkpoint_goes_on(case, files, inputs, expected):
    saved = keras.models.load_model(f"{case}.keras")
    model = kd.Distiller.from_config(saved.get_config())  # With weights of its own, but for the teacher's.
    model.teacher.set_weights(saved.teacher.get_weights())
    model.compile_from_config(saved.get_compile_config())
    model.load_weights(f"{case}.weights.h5")
    for one, other in zip(cases.student_weights(model), listed(expected, f"{case}/saved"), strict=True):
        assert_array_equal(one, other)
    logs = cases.go_on(case, model, cases.batches(case, inputs, files))
    assert_same_logs(logs, EXPECTED["logs"][case], **EXACT)
    assert_all_close(cases.student_weights(model), listed(expected, f"{case}/trained"), **EXACT)


def test_the_student_of_a_distiller_is_exported_in_int8_as_it_was_trained(files, inputs):
    student = keras.models.load_model("quantized_images.keras").student
    assert kd.quantization.is_quantize_aware(student)
    ranges = kd.quantization.ranges(student)
    assert all(low <= 0.0 <= high and high > low for low, high in ranges.values())
    plain = kd.quantization.float_student(student)
    differences = np.abs(plain(inputs["images"]) - student(inputs["images"]))
    assert float(np.max(differences)) < 0.1


# Names ---------------------------------------------------------------------------------------------------------------


def test_no_registered_name_is_gone():
    for room in kd.__all__:
        getattr(kd, room)
    names = set(keras.saving.get_custom_objects())
    assert len(EXPECTED["registered"]) == 84
    assert set(EXPECTED["registered"]) - names == set()


def test_the_files_hold_every_registered_name():
    text = (FILES / "objects.json").read_text(encoding="utf-8")
    for name in ARCHIVES:
        text += zipfile.ZipFile(FILES / name).read("config.json").decode()
    assert set(re.findall(r"keras_distill>\w+", text)) == set(EXPECTED["registered"])


def without_places(config):
    """Return a configuration without where classes are defined, which may change."""
    if isinstance(config, dict):
        return {key: without_places(each) for key, each in config.items() if key not in ("module", "shared_object_id")}
    return [without_places(each) for each in config] if isinstance(config, list) else config


def assert_holds(config, old):
    """Check that a configuration has all that an older one had."""
    if isinstance(old, dict):
        for key, each in old.items():
            assert_holds(config[key], each)
    elif isinstance(old, list):
        assert len(config) == len(old)
        for one, other in zip(config, old, strict=True):
            assert_holds(one, other)
    else:
        assert config == old


@pytest.mark.parametrize(
    "record",
    json.loads((FILES / "objects.json").read_text(encoding="utf-8")),
    ids=lambda record: f"{record['registered_name']}",
)
def test_an_object_comes_back_with_its_configuration(record):
    made = keras.saving.deserialize_keras_object(record)
    again = json.loads(json.dumps(keras.saving.serialize_keras_object(made)))
    assert_holds(without_places(again), without_places(record))


@pytest.mark.slow
def test_a_process_that_imports_the_package_and_touches_nothing_loads_them(files):
    script = """
import json, keras, keras_distill
for record in json.load(open("objects.json")):
    keras.saving.deserialize_keras_object(record)
for name in ("scheduled", "every_feature_loss", "ensemble", "mutual", "quantized_sequences", "stored"):
    print(type(keras.models.load_model(f"{name}.keras")).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    names = "Distiller Distiller Distiller MutualLearning Distiller Distiller"
    assert done.stdout.split() == names.split(), done.stderr[-3000:]


def net(width):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, name="hidden"), keras.layers.Dense(3)])


def logs_of(losses, loss="sparse_categorical_crossentropy", y=True, validation=False, **compiled):
    """Return the names of the logs of a fit, and those of an evaluation."""
    x, labels = np.ones((8, 4), "float32"), np.arange(8) % 3
    distiller = kd.Distiller(net(6), net(4), losses)
    distiller.compile("sgd", loss, run_eagerly=True, **compiled)
    given = {"validation_data": (x, labels)} if validation else {}
    logs = distiller.fit(x, labels if y else None, verbose=0, **given).history
    return list(logs), list(distiller.evaluate(x, labels if y else None, verbose=0, return_dict=True))


HARD_AND_SOFT = ["loss", "student_loss", "distillation_loss", "total_loss"]
FITS = {
    "one loss, measured and validated": (
        {"losses": "kd", "metrics": ["accuracy"], "validation": True},
        [*HARD_AND_SOFT, "temperature", "accuracy", "val_loss", "val_student_loss", "val_total_loss", "val_accuracy"],
        ["loss", "student_loss", "total_loss", "accuracy"],
    ),
    "fidelity": (
        {"losses": "kd", "fidelity": True, "metrics": [kd.metrics.TeacherDivergence(), kd.metrics.BrierScore()]},
        [*HARD_AND_SOFT, "temperature", "brier_score", "agreement", "teacher_divergence"],
        [*HARD_AND_SOFT, "temperature", "brier_score", "agreement", "teacher_divergence"],
    ),
    "no labels": (
        {"losses": "kd", "y": False},
        [*HARD_AND_SOFT, "temperature"],
        ["loss", "distillation_loss", "total_loss", "temperature"],
    ),
    "no hard loss": (
        {"losses": "dkd", "loss": None},
        ["loss", "distillation_loss", "total_loss", "temperature"],
        ["loss", "distillation_loss", "total_loss", "temperature"],
    ),
    "several losses": (
        {"losses": ["kd", "kd", kd.losses.FeatureDistillation("mse", "hidden", "hidden")]},
        [
            *HARD_AND_SOFT,
            *("kd", "kd_1", "feature_distillation", "temperature", "kd_temperature", "kd_1_temperature"),
        ],
        ["loss", "student_loss", "total_loss"],
    ),
    "no temperature": ({"losses": "rkd"}, HARD_AND_SOFT, ["loss", "student_loss", "total_loss"]),
    "a learned temperature": (
        {"losses": "ctkd"},
        [*HARD_AND_SOFT, "temperature"],
        ["loss", "student_loss", "total_loss"],
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_names_of_logs(name):
    options, fitted, evaluated = FITS[name]
    assert logs_of(**options) == (fitted, evaluated)


# Stores --------------------------------------------------------------------------------------------------------------

STORES = sorted(path.name for path in (FILES / "stores").iterdir() if path.name != "part")


@pytest.mark.parametrize("name", STORES)
def test_a_store_holds_what_it_held(name, expected):
    store = kd.targets.open(FILES / "stores" / name, check="all")
    fields = {"keys": store.keys, **store[:]}
    prefix = f"stores/{name}/"
    assert {prefix + field for field in fields} == {each for each in expected if each.startswith(prefix)}
    for field, values in fields.items():
        assert_array_equal(values, expected[prefix + field])
        assert values.dtype == expected[prefix + field].dtype


def test_answers_are_joined_to_their_examples(files, inputs):
    store, teacher = kd.targets.open("stores/features"), keras.models.load_model("store_teacher.keras")
    order = np.random.default_rng(0).permutation(cases.EXAMPLES)
    dataset = tf.data.Dataset.from_tensor_slices((inputs["vectors"][order], inputs["labels"][order])).batch(8)
    for x, _, _, extras in store.join(dataset, order="any"):
        assert_allclose(extras["soft_targets"]["values"], teacher(x), rtol=2e-3, atol=2e-3)  # In float16.


def test_views_are_made_again_and_find_their_answers(files, inputs):
    small = inputs["images"][:8], inputs["labels"][:8]
    store, replay = kd.targets.open("stores/views"), cases.replay(small)
    dataset = tf.data.Dataset.from_tensor_slices(small).batch(4)
    for view in range(2):
        batches = list(store.join(dataset, replay=replay, view=view))
        assert len(batches) == 2
        for x, y, _, extras in batches:
            assert_array_equal(extras["soft_targets"]["values"], cases.sum_pixels(x.numpy()).astype("float16"))
            assert_allclose(np.sum(y, axis=-1), 1.0, rtol=1e-6)


def of_today(folder):
    """Say in a plan or manifest that it was written with the libraries of today, which must be those of its end."""
    for name in ("plan.json", "manifest.json"):
        if (folder / name).exists():
            record = json.loads((folder / name).read_text())
            record["versions"] = {each: importlib.metadata.version(each) for each in record["versions"]}
            (folder / name).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def test_a_store_that_was_stopped_is_finished(files, inputs, expected):
    part = files / "stores" / "part"
    assert not (part / "manifest.json").exists() and (part / "shard-00000" / "shard.json").exists()
    of_today(part)
    options = {"batch_size": 8, "shard_size": 16, "name": "kept vectors", "class_names": list("abcd")}
    before = (part / "shard-00000" / "values.npy").stat().st_mtime_ns
    store = kd.targets.write(cases.answer_by_rule, inputs["vectors"], part, **options)
    for field, values in {"keys": store.keys, **store[:]}.items():
        assert_array_equal(values, expected[f"stores/whole/{field}"])
    assert (part / "shard-00000" / "values.npy").stat().st_mtime_ns == before


same_keras = pytest.mark.skipif(
    importlib.metadata.version("keras") != EXPECTED["versions"]["keras"],
    reason="a teacher is known by its Keras configuration, which another version of Keras may write otherwise",
)


@same_keras
@pytest.mark.parametrize(
    ("name", "teacher", "kind"),
    [
        ("features", "store_teacher", "vectors"),
        ("ensemble", "store_ensemble", "images"),
        ("sequences", "store_language_model", "tokens"),
        ("whole", None, "vectors"),
    ],
)
def test_its_teacher_is_known_again(name, teacher, kind, files, inputs):
    x = cases.padded_tokens(inputs) if kind == "tokens" else inputs[kind]
    if teacher is None:
        teacher = kd.teachers.CallableTeacher(cases.answer_by_rule, classes=[cases.CLASSES])
    else:
        teacher = keras.models.load_model(f"{teacher}.keras")
    told = kd.targets.open(f"stores/{name}").verify(teacher, x)
    assert told["examples"] == cases.EXAMPLES and told["difference"] <= told["allowed"]


# Exports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student.tflite", "saved_model", "student.onnx"])
def test_an_exported_file_answers_as_the_student(name, files, inputs, expected):
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    teacher = kd.teachers.as_teacher(files / "export" / name)
    assert_allclose(teacher(inputs["vectors"]), expected["export"], rtol=1e-5, atol=1e-6)
    student = keras.models.load_model("exported_student.keras")
    assert_allclose(student(inputs["vectors"]), expected["export"], rtol=1e-5, atol=1e-6)


def test_exported_files_are_benchmarked(files, inputs):
    pytest.importorskip("ai_edge_litert")
    paths = [files / "export" / name for name in ("student.tflite", "student_int8.tflite")]
    exact, rounded = kd.export.benchmark(paths, inputs["vectors"], threads=[1], rounds=1)
    assert exact.status == rounded.status == "passed"
    assert rounded.samples == cases.EXAMPLES and rounded.agreement >= 0.8
    assert rounded.computing.keys() == {"INT8"}


@pytest.mark.slow
def test_an_export_is_replaced_and_the_users_own_files_stay(files, inputs):
    folder = files / "export"
    (folder / "notes.txt").write_text("mine")
    manifest = json.loads((folder / "export.json").read_text())
    for name, entry in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]
    student = keras.models.load_model("exported_student.keras")
    report = kd.export.export(student, folder, ("saved_model",), evaluation_data=inputs["vectors"])
    assert report.passed
    assert sorted(each.name for each in folder.iterdir()) == ["README.md", "export.json", "notes.txt", "saved_model"]
    again = json.loads((folder / "export.json").read_text())
    assert manifest.keys() <= again.keys() and manifest["artifacts"][0].keys() <= again["artifacts"][0].keys()


# Runs ----------------------------------------------------------------------------------------------------------------

write_report = getattr(kd.report, "write", kd.report)


def assert_same_figures(found, wanted, place="report"):
    """Compare all numbers and names of two reports; sentences may be put otherwise."""
    if isinstance(wanted, dict):
        assert wanted.keys() <= found.keys(), place
        for name, each in wanted.items():
            assert_same_figures(found[name], each, f"{place} {name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for number, each in enumerate(wanted):
            assert_same_figures(found[number], each, f"{place} {number}")
    elif isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-7), place
    elif wanted is None or isinstance(wanted, bool):
        assert found is wanted, place
    else:
        assert isinstance(found, str), place


def test_a_run_is_reported_with_the_same_figures(files):
    pytest.importorskip("matplotlib")
    report = write_report(files / "run")
    assert {path.name for path in report.paths.values()} == {"report.html", "report.md", "report.json"}
    assert_same_figures(json.loads(report.paths["json"].read_text()), json.loads((files / "report.json").read_text()))


def test_the_models_of_a_run_are_those_of_its_figures(files):
    results = json.loads((files / "run" / "results.json").read_text())
    x, y = kd.data.digits().test
    chosen = results["seeds"].index(results["exported_seed"])
    for name, record in (("teacher", results["teacher"]), ("student", results["distilled"][chosen])):
        answers = keras.models.load_model(files / "run" / f"{name}.keras")(x)
        assert np.mean(np.argmax(answers, axis=-1) == y) == pytest.approx(record["test_accuracy"], abs=0.0067)


def test_a_run_into_the_folder_of_an_old_one_begins(files):
    from tests.compatibility import recipe

    class Begun(Exception):
        pass

    def stop(data_dir, download):
        raise Begun

    changed = recipe.RECIPE.__class__(**{**recipe.RECIPE.__dict__, "data": stop})
    with pytest.raises(Begun):
        kd.recipes.run(changed, files / "run", seeds=(0,), formats=("tflite",))
    (files / "run" / "results.json").write_text("{}")
    with pytest.raises(FileExistsError):
        kd.recipes.run(changed, files / "run", seeds=(0,), formats=("tflite",))
