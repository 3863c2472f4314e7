"""The faults to put into the code, one piece of code each."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Break:
    """A fault to put into the code.

    Attributes:
        room: Room of the package that it is about.
        name: What is wrong then.
        code: Code that occurs once in the package.
        broken: What is put in its place.
        tests: Names of files of tests, separated by spaces.
        matching: Which of their tests, an expression for pytest's `-k`. Defaults to all.
        backend: Keras backend to run them on. Defaults to `"tensorflow"`.
    """

    room: str
    name: str
    code: str
    broken: str
    tests: str
    matching: str = ""
    backend: str = "tensorflow"


BREAKS = (
    Break(
        "losses",
        "the reverse KL divergence is the forward one",
        "mixture_divergence(q, p, -log_ratio, 1.0)",
        "mixture_divergence(p, q, log_ratio, 1.0)",
        "test_divergences.py test_skewed.py",
    ),
    Break(
        "losses",
        "the factor of the squared temperature is left out",
        "values * ops.square(ops.cast(temperature, values.dtype)) if",
        "values if",
        "test_logits_distillation.py",
    ),
    Break(
        "losses",
        "probabilities are clipped",
        "return exponentials / total, total",
        "return ops.clip(exponentials / total, 1e-7, 1.0), total",
        "test_divergences.py test_logits_distillation.py",
    ),
    Break(
        "losses",
        "the gradient of the KL divergence is half of what it is",
        "upstream, -1) / temperature",
        "upstream, -1) / (2.0 * temperature)",
        "test_logits_distillation.py",
    ),
    Break(
        "losses",
        "samples without a label count as the first class",
        "(mask_of(values), self.labelled)",
        "(mask_of(values), None)",
        "test_hard_labels.py test_unlabelled.py",
    ),
    Break(
        "losses",
        "both parts of decoupled distillation weigh alike",
        "+ beta * non_target_class_divergence",
        "+ alpha * non_target_class_divergence",
        "test_decoupled.py",
    ),
    Break(
        "distiller",
        "the teacher runs in training mode",
        "model(inputs, training=training)",
        "model(inputs, training=training or not model.trainable)",
        "test_fit.py",
        "inference_mode or the_teacher_never_changes",
    ),
    Break(
        "distiller",
        "hard labels and soft targets have each other's weight",
        "weight * hard + (1.0 - weight) * distillation",
        "(1.0 - weight) * hard + weight * distillation",
        "test_objective_values.py",
    ),
    Break(
        "distiller",
        "losses never hear of the temperature of the step",
        'given["temperature"] = ops.convert_to_tensor(temperature)',
        'given["temperature"] = ops.ones(())',
        "test_objective_values.py test_temperature_scheduler.py",
    ),
    Break(
        "distiller",
        "the weights of the teacher are not loaded",
        "self.teacher.load_weights(path)",
        "pass",
        "test_saving.py",
        "goes_on_where_it_stopped",
    ),
    Break(
        "distiller",
        "dropout does not go on where it stopped",
        "seed.assign(store[name])",
        "pass",
        "test_files_of_0_1.py",
        "answers_as_it_did and scheduled",
    ),
    Break(
        "distiller",
        "on JAX a batch that does not pass its checks leaves its trace",
        "ops.where(passed, new, old)",
        "new",
        "jax/test_training.py",
        "no_trace",
        backend="jax",
    ),
    Break(
        "schedules",
        "the cosine turns back half-way",
        "math.cos(math.pi * fraction)",
        "math.cos(2.0 * math.pi * fraction)",
        "test_schedules.py",
    ),
    Break(
        "schedules",
        "pieces do not count from their beginning",
        "pieces[index](position - boundaries[index - 1] if index else position)",
        "pieces[index](position)",
        "test_schedules.py",
    ),
    Break(
        "callbacks",
        "a schedule is one position behind",
        "position = int(count.numpy())",
        "position = max(int(count.numpy()) - 1, 0)",
        "test_temperature_scheduler.py test_weight_scheduler.py",
    ),
    Break(
        "callbacks",
        "the momentum teacher forgets instead of keeping",
        "1.0 - momentum, wide_dtype",
        "momentum, wide_dtype",
        "test_momentum_teacher.py",
    ),
    Break(
        "features",
        "features before the activation are those after it",
        'self._before = "activation"',
        "self._before = None",
        "test_feature_extractor.py",
    ),
    Break(
        "features",
        "a convolution that halves a map pads nothing",
        "if self.stride == 2 else (0, 0)",
        "if self.stride == 3 else (0, 0)",
        "test_adapters.py",
    ),
    Break(
        "targets",
        "answers are joined by position, whatever the example",
        "self._store.keys[positions] != ",
        "0 * self._store.keys[positions] != 0 * ",
        "test_join.py",
    ),
    Break(
        "targets",
        "a writer that goes on does not look whether the data set changed",
        "if found.shape != stored.shape or (found != stored).any():",
        "if found.shape != stored.shape:",
        "test_resume.py",
        "changed",
    ),
    Break(
        "targets",
        "the hash of an example leaves out its shape",
        "digest.update(head + str(example.shape).encode())",
        "digest.update(head)",
        "test_keys.py",
    ),
    Break(
        "answers",
        "the rest of a student's classes is not tempered",
        "log_sum_of_others(student / temperature, indices)",
        "log_sum_of_others(student, indices)",
        "test_top_k.py",
    ),
    Break(
        "teachers",
        "the mean of probabilities is the geometric one",
        '"probabilities": mean_of_probabilities',
        '"probabilities": geometric_mean',
        "test_ensemble.py",
    ),
    Break(
        "teachers",
        "merged classes forget the temperature",
        "tops + temperature * ops.log(sums)",
        "tops + ops.log(sums)",
        "test_class_map.py",
    ),
    Break(
        "teachers",
        "what the teacher is unsure of is trusted",
        "confidence >= min_confidence",
        "confidence < min_confidence",
        "test_trust.py",
    ),
    Break(
        "data",
        "samples without a label get the first class",
        "tf.constant(-1, labels.dtype)",
        "tf.constant(0, labels.dtype)",
        "test_mixing.py",
    ),
    Break(
        "data",
        "the validation split of the digits is that of the test",
        "return Data(*hold_out(*rest), test, tuple(str(label)",
        "return Data(hold_out(*rest)[0], test, test, tuple(str(label)",
        "test_digits.py",
    ),
    Break(
        "metrics",
        "metrics ignore weights, masks and missing labels",
        "weights = weights * expand_like(factor, weights)",
        "weights = weights * ops.ones_like(weights)",
        "test_every_metric.py test_labelled.py",
    ),
    Break(
        "export",
        "a file that agrees too little passes",
        "agreement < self.min_agreement",
        "agreement < 0.0",
        "test_withholding.py",
        "impossible_limit",
    ),
    Break(
        "export",
        "outliers stay in ranges by percentile",
        "place = (self._seen - 1) * (1 - self._share)",
        "place = 0.0",
        "test_formats.py",
        "percentiles_leave_out",
    ),
    Break(
        "export",
        "int8 ranges are taken from the first samples alone",
        "np.linspace(0, total - 1, min(limit, total))",
        "np.linspace(0, min(limit, total) - 1, min(limit, total))",
        "test_students.py",
        "spread_over_arrays",
    ),
    Break(
        "export",
        "normalization in the metadata is that of the files that hold it",
        '{"mean": [0.0], "std": [1.0]} if step["in_graph"] else step["feed"]',
        'step["feed"]',
        "test_normalization.py",
        "True",
    ),
    Break(
        "export",
        "bytes of a C array are in another order",
        "f'0x{byte:02x}' for byte in row",
        "f'0x{byte:02x}' for byte in row[::-1]",
        "test_c_array.py",
    ),
    Break(
        "quantization",
        "normalization is folded without its epsilon",
        "scale = ops.rsqrt(variance + normalization.epsilon)",
        "scale = ops.rsqrt(variance)",
        "quantization/test_layers.py test_kernels.py",
    ),
    Break(
        "quantization",
        "weights use the value that the converter leaves out",
        "narrow_range=True",
        "narrow_range=False",
        "test_fake.py test_kernels.py",
    ),
    Break(
        "distribution",
        "the gradients of replicas are averaged twice",
        "return loss * replicas * samples /",
        "return loss * samples /",
        "test_mirrored.py",
        "arrays_of_uneven_batches",
    ),
    Break(
        "stages",
        "every student of a chain has the first teacher",
        "        teacher = student\n    return students",
        "    return students",
        "test_chain.py",
    ),
    Break(
        "profiling",
        "parts of a step are counted from its beginning",
        "parts[name], reached = end - reached, end",
        "parts[name], reached = end, end",
        "profiling/test_profile.py",
        "differences_of_medians",
    ),
    Break(
        "tuning",
        "the best trial is the worst one",
        'sign = -1.0 if tuner.oracle.objective.direction == "max" else 1.0',
        'sign = 1.0 if tuner.oracle.objective.direction == "max" else -1.0',
        "test_tune.py",
        "better_value or best_distiller",
    ),
    Break(
        "recipes",
        "the worst student by validation is exported",
        "np.argmax([student.validation_accuracy",
        "np.argmin([student.validation_accuracy",
        "test_selection.py",
    ),
    Break(
        "report",
        "deviations over seeds divide by their number",
        "{100 * np.std(values, ddof=1):.2f} %",
        "{100 * np.std(values, ddof=0):.2f} %",
        "test_tables.py",
    ),
    Break(
        "cli",
        "a command says that all passed where it did not",
        "SystemExit(0 if passed else NOT_PASSED)",
        "SystemExit(0)",
        "test_commands.py",
        "does_not_pass",
    ),
)
