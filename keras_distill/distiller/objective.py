"""What a student is trained on: the hard term, the soft terms, their coefficients, and the trained adapters."""

import warnings
from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.backend import replicas
from keras_distill._core.checks import check_temperature
from keras_distill._core.messages import expected
from keras_distill._core.tensors import expand_like
from keras_distill.answers.answer import Answer, as_answers
from keras_distill.distiller.outputs import drop, pack_single
from keras_distill.features.taps import FINAL_OUTPUT, tap
from keras_distill.losses.base import DistillationLoss, snake_case
from keras_distill.losses.logits.top_k import check_takes_top_k, is_top_k
from keras_distill.losses.weights import check_fit, drop_ones, weights_for_features


class Objective(keras.layers.Layer):
    """Hold the losses of a distillation and add them up.

    It is a Keras layer, so that Keras finds, saves and restores its coefficients, adapters and metrics with the
    `Distiller` it belongs to. The coefficients are variables: changing them retraces nothing.

    Args:
        losses: List of distillation losses.
        loss_weights: One number >= 0 for each.
        student_loss_weight: Weight of the hard labels, from 0.0 to 1.0.
        feature_shape: Function `(loss, role) -> shape or None` of what a loss compares, to build adapters.
        trust: A `keras_distill.teachers.Trust`, or `None`.
    """

    def __init__(self, losses: Any, loss_weights: Any, student_loss_weight: Any, feature_shape: Any, trust: Any = None):
        super().__init__(name="objective", dtype="float32")
        self.trust = trust
        self.distillation_losses = list(losses)
        self.names = _unique([getattr(loss, "name", None) or snake_case(type(loss).__name__) for loss in losses])
        self.student_loss_weight = self._coefficient(student_loss_weight, "student_loss_weight")
        self.loss_weights = [
            self._coefficient(weight, f"{name}_weight") for name, weight in zip(self.names, loss_weights, strict=True)
        ]
        self.temperatures = [
            self._temperature(loss, name) for name, loss in zip(self.names, self.distillation_losses, strict=True)
        ]
        # Trained by the student's optimizer and saved with the distiller, but not part of the student.
        self.adapters = [_adapter(loss, feature_shape) for loss in self.distillation_losses]
        self.trackers = {
            name: keras.metrics.Mean(name=name) for name in ("student_loss", "distillation_loss", *self.names)
        }
        self._warned = False
        self.built = True

    def _coefficient(self, value, name):
        initializer = keras.initializers.Constant(value)
        return self.add_weight(shape=(), initializer=initializer, trainable=False, autocast=False, name=name)

    def _temperature(self, loss, name):
        temperature = getattr(loss, "temperature", None)
        if isinstance(temperature, keras.Variable):
            temperature.trainable = False  # The optimizer would lower the loss with it rather than teach.
        if temperature is None or isinstance(temperature, keras.Variable):
            return temperature
        return self._coefficient(check_temperature(temperature), f"{name}_temperature")

    def current_temperatures(self) -> Any:
        """Return the temperature variable of each loss that has one, by the name of the loss."""
        pairs = zip(self.names, self.temperatures, strict=True)
        return {name: temperature for name, temperature in pairs if temperature is not None}

    def learned_temperatures(self) -> Any:
        """Return the temperature of each loss that learns its own, by the name of the loss."""
        pairs = zip(self.names, self.adapters, strict=True)
        return {name: adapter.temperature for name, adapter in pairs if hasattr(adapter, "temperature")}

    def begin_epoch(self, epoch: Any) -> None:
        """Tell the adapters how many epochs have passed: some ramp up."""
        for adapter in self.adapters:
            if hasattr(adapter, "begin_epoch"):
                adapter.begin_epoch(epoch)

    def soft_terms(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any,
        labels: Any = None,
        training: bool = False,
        extras: Any = None,
        left_out: frozenset = frozenset(),
    ) -> Any:
        """Compute each distillation loss.

        Args:
            teacher_outputs: Dict of `"final_output"` and the teacher's features by layer.
            student_outputs: Dict of `"final_output"` and the student's features by layer.
            sample_weight: Weights of the samples, or `None`.
            labels: Hard labels, for the losses that need them. Defaults to `None`.
            training: Whether the step trains. Defaults to `False`.
            extras: Dict of what else the batch carries, for losses that take it. Defaults to `None`.
            left_out: Names, or positions, of final outputs that are not compared. Defaults to an empty set.

        Returns:
            A dict of unweighted float scalars by name of the loss; under `tf.distribute`, the share of this replica.
        """
        terms = {}
        parts = zip(self.names, self.distillation_losses, self.adapters, self.temperatures, strict=True)
        for name, loss, adapter, temperature in parts:
            teacher, student = (
                _compared(loss, role, outputs)
                for role, outputs in (("teacher", teacher_outputs), ("student", student_outputs))
            )
            skipped = left_out if taps(loss, "student") is None else frozenset()
            teacher, student, weight, own_labels = (
                drop(each, skipped, loss) for each in (teacher, student, sample_weight, labels)
            )
            teacher = pack_single(teacher, student)
            if is_top_k(teacher):
                check_takes_top_k(loss)
            if isinstance(loss, DistillationLoss):
                given = {"labels": own_labels, "training": training, "adapter": adapter, **(extras or {})}
                if temperature is not None:
                    given["temperature"] = ops.convert_to_tensor(temperature)
                fused = getattr(loss, "fuses_head", False)
                if fused:
                    given["student_loss_weight"] = ops.convert_to_tensor(self.student_loss_weight)
                if loss.compares_logits or fused:
                    answer, weight = self._trusted(as_answers(teacher), own_labels, weight, fused)
                    teacher = _at(answer, getattr(adapter, "temperature", temperature))
                else:
                    teacher = _at(teacher, None)
                student = loss.adapt(student, adapter, training)
                loss.validate_outputs(teacher, student)
                if taps(loss, "student") is not None:
                    staged = getattr(loss, "staged", False)
                    weight = weights_for_features(weight, student, student_outputs[FINAL_OUTPUT], staged)
                terms[name] = loss.compute_loss(teacher, student, sample_weight=weight, **given)
            else:
                self._warn_of_weights(name, sample_weight)
                teacher = _at(teacher, None)
                loss.validate_outputs(teacher, student)
                terms[name] = loss.compute_loss(teacher, student) / replicas()
        return terms

    def _trusted(self, answer, labels, sample_weight, fused):
        """Return the teacher's answer, corrected, and the weights of the samples, times the trust in each."""
        if self.trust is None:
            return answer, sample_weight
        if is_top_k(answer) or fused:
            received = "a `top_k` store" if is_top_k(answer) else "a loss that never holds them"
            raise ValueError(expected("soft targets of all classes where `trust` is given", received))
        if keras.tree.is_nested(answer):
            raise ValueError(expected("a teacher of one output where `trust` is given", f"{len(answer)}"))
        weight = self.trust.weights(answer.logits, labels)
        if sample_weight is not None:
            given = drop_ones(ops.cast(sample_weight, weight.dtype), len(weight.shape))
            check_fit(given, weight)
            weight = weight * expand_like(given, weight)
        return self.trust.correct(answer, labels), weight

    def weighted_sum(self, hard: Any, soft: Any, regularization: Any, samples: Any) -> Any:
        """Add up the terms, record each, and stop at one that is not finite.

        Args:
            hard: The hard-label term, or `None`.
            soft: The soft terms by name; empty for none.
            regularization: The student's regularization losses, or `None`.
            samples: Number of samples in the batch, the weight of the records.

        Returns:
            Float scalar.
        """
        # Keras computes a loss in its `floatx`, which may be float64.
        hard, regularization = (each if each is None else ops.cast(each, self.dtype) for each in (hard, regularization))
        soft = {name: ops.cast(value, self.dtype) for name, value in soft.items()}
        for name, value in {"student_loss": hard, **soft, "regularization loss": regularization}.items():
            if value is not None:
                guards.check_finite(name, value)
        weights = dict(zip(self.names, self.loss_weights, strict=True))
        distillation = sum(ops.multiply(weights[name], value) for name, value in soft.items()) if soft else None
        records = {"student_loss": hard, "distillation_loss": distillation}
        if len(self.names) > 1:  # The term of a single loss follows from its weight and the sum.
            records |= soft
        for name, value in records.items():
            if value is not None:
                self.trackers[name].update_state(value * replicas(), sample_weight=samples)
        if hard is not None and distillation is not None:
            weight = ops.convert_to_tensor(self.student_loss_weight)
            total = weight * hard + (1.0 - weight) * distillation
        else:
            total = distillation if hard is None else hard
        return total if regularization is None else total + regularization

    def _warn_of_weights(self, name, sample_weight):
        if sample_weight is not None and not self._warned:
            warnings.warn(f"The loss {name!r} is not a keras_distill loss: it ignores sample weights.", stacklevel=2)
            self._warned = True


def taps(loss: Any, role: str) -> Any:
    """Return what a loss compares in a model: the key of a layer, a list of keys, or `None` for the final output.

    Args:
        loss: A distillation loss that was validated against the models.
        role: `"teacher"` or `"student"`.
    """
    names = getattr(loss, f"{role}_layer_name", None)
    before = getattr(loss, "preactivation", False)
    if isinstance(names, (list, tuple)):
        return [FINAL_OUTPUT if name is None else tap(name, before) for name in names]
    return None if names is None else tap(names, before)


def layers_of(role: str, losses: Any) -> Any:
    """Return the keys of all layers that the losses compare in a model."""
    keys = keras.tree.flatten([taps(loss, role) for loss in losses])
    return list(dict.fromkeys(key for key in keys if key not in (None, FINAL_OUTPUT)))


def _at(outputs, temperature):
    """Return the answers in a nest at a temperature, T = 1 where it is `None`; leave tensors as they are."""
    temperature = 1.0 if temperature is None else temperature
    return keras.tree.map_structure(
        lambda output: output.at(temperature) if isinstance(output, Answer) else output, outputs
    )


def _compared(loss, role, outputs):
    keys = taps(loss, role)
    return [outputs[key] for key in keys] if isinstance(keys, list) else outputs[keys or FINAL_OUTPUT]


def _adapter(loss, feature_shape):
    if not hasattr(loss, "make_adapter"):
        return None
    teacher_shape, student_shape = feature_shape(loss, "teacher"), feature_shape(loss, "student")
    unknown = None in [*_as_list(teacher_shape), *_as_list(student_shape)]
    if unknown and not getattr(loss, "compares_logits", False):
        return None  # The model is not built yet: the loss checks the shapes of the first batch.
    if not unknown and hasattr(loss, "check_ranks"):  # An adapter of another rank would raise an error of its layers.
        loss.check_ranks("teacher", _as_list(teacher_shape))
        loss.check_ranks("student", _as_list(student_shape))
    adapter = loss.make_adapter(teacher_shape, student_shape)
    if adapter is not None and not adapter.built:
        adapter.build(student_shape)
    return adapter


def _as_list(shapes):
    return shapes if isinstance(shapes, list) else [shapes]


def _unique(names):
    """Number repeated names: loss, loss_1, loss_2."""
    counts = {}
    unique = []
    for name in names:
        counts[name] = counts.get(name, -1) + 1
        unique.append(f"{name}_{counts[name]}" if counts[name] else name)
    return unique
