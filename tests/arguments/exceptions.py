"""What the test of bad arguments leaves out, accepts or finds unclear, with the reason for each."""

_MADE = "we make it; users read it"
LEFT_OUT = {
    "answers.Answer": "abstract",
    "export.Artifact": _MADE,
    "export.BenchmarkReport": _MADE,
    "export.ExportReport": _MADE,
    "metrics.ReliabilityCurve": _MADE,
    "metrics.FidelityMetric": "abstract",
    "profiling.Profile": _MADE,
    "quantization.own_range": "a rule, which we call",
    "quantization.rounded_weights": "a rule, which we call",
    "quantization.same_range": "a rule, which we call",
    "recipes.Results": _MADE,
    "recipes.RunResult": _MADE,
    "report.Report": _MADE,
    "teachers.Teacher": "abstract",
    "tuning.TuningResult": _MADE,
    "teachers.ONNXTeacher": "as_teacher makes it of a file",
    "teachers.SavedModelTeacher": "as_teacher makes it of a file",
    "teachers.TFLiteTeacher": "as_teacher makes it of a file",
}
"""Public name -> why users do not call it with arguments of their own."""

_OWN = "its own tests run it"
COSTLY = {
    "data.load": "downloads",
    "distribution.distribute": "needs a data set of a strategy; its own tests run it",
    "distribution.launch": _OWN,
    "export.benchmark": _OWN,
    "export.export": _OWN,
    "features.pair_layers": "needs convolutional models; its own tests run it",
    "features.train_paraphraser": _OWN,
    "losses.pair_layers": "needs convolutional models; its own tests run it",
    "profiling.profile": _OWN,
    "recipes.run": _OWN,
    "report.write": _OWN,
    "stages.born_again": _OWN,
    "stages.chain": _OWN,
    "targets.write_with_beam": _OWN,
    "tuning.tune": _OWN,
}
"""Public name -> why its valid call is not run here."""

_KERAS_NAMES = "Keras chooses a name"
ACCEPTED: dict[tuple[str, str], str] = {
    ("losses.ReviewKD", "pool_sizes"): "one size in place of a list of one",
    ("metrics.Agreement", "name"): _KERAS_NAMES,
    ("metrics.BrierScore", "name"): _KERAS_NAMES,
    ("metrics.ClassAgreement", "name"): _KERAS_NAMES,
    ("metrics.DarkKnowledgeCorrelation", "name"): _KERAS_NAMES,
    ("metrics.ExpectedCalibrationError", "name"): _KERAS_NAMES,
    ("metrics.NegativeLogLikelihood", "name"): _KERAS_NAMES,
    ("quantization.is_quantize_aware", "model"): "it asks what something is",
    ("stages.MutualLearning", "distillation_loss_weights"): "one weight for all losses, as in a Distiller",
    ("teachers.CallableTeacher", "sleep"): "for tests; called after the first failure",
}
"""`(name, argument)` -> why values that look bad are not."""

OBSCURE: dict[tuple[str, str], str] = {
    ("features.train_paraphraser", "x"): "Keras's fit says that it is unrecognized data, and shows it",
    ("features.train_paraphraser", "optimizer"): "Keras's compile says that it is no optimizer, and shows it",
}
"""`(name, argument)` -> why the error is another library's."""
