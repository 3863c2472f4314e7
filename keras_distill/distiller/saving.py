"""Saving a `Distiller`: configurations of its parts, the teacher's weights as an asset, the state of random layers."""

import os
from typing import Any

import keras

from keras_distill.distiller.backups import WholeSaves

_TEACHER_FILE = "teacher.weights.h5"
_SEED = "seed_"


class Saving(WholeSaves):
    """Save a `Distiller`: with its teacher in a `.keras` file, without it in a checkpoint."""

    def get_compile_config(self) -> Any:
        config = super().get_compile_config()
        if not config:
            return config
        given = [metric for metric in self.fidelity_metrics if metric is not self.agreement]
        if given:
            others = config.get("metrics")
            others = others if isinstance(others, list) else [] if others is None else [others]
            config = {**config, "metrics": [*others, *map(keras.saving.serialize_keras_object, given)]}
        # Keras would save what "auto" became on this backend.
        return {**config, "fidelity": self.fidelity, "jit_compile": self.asked_jit_compile}

    def compile_from_config(self, config: Any) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "student": keras.saving.serialize_keras_object(self.student),
            "distillation_losses": [keras.saving.serialize_keras_object(loss) for loss in self.distillation_losses],
            "distillation_loss_weights": self.distillation_loss_weights,
            "student_loss_weight": self.student_loss_weight,
            "trust": keras.saving.serialize_keras_object(self.objective.trust),
        }

    @classmethod
    def from_config(cls, config: Any) -> Any:
        objects = ("teacher", "student", "distillation_losses", "trust")
        made = {name: keras.saving.deserialize_keras_object(config[name]) for name in objects if name in config}
        return cls(**{**config, **made})

    def save_assets(self, inner_path: Any) -> None:
        # A `.keras` file holds assets, a file of `save_weights` does not: so checkpoints leave the teacher out.
        if self.teacher.built and self.teacher.weights:
            self.teacher.save_weights(os.path.join(inner_path, _TEACHER_FILE))

    def load_assets(self, inner_path: Any) -> None:
        path = os.path.join(inner_path, _TEACHER_FILE)
        if os.path.exists(path):
            self.teacher.load_weights(path)

    # Keras saves the state of random layers nowhere: a resumed training would drop other units.
    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for number, seed in enumerate(self._seeds()):
            store[f"{_SEED}{number}"] = seed

    def load_own_variables(self, store: Any) -> None:
        names = [name for name in store.keys() if not name.startswith(_SEED)]
        super().load_own_variables({name: store[name] for name in names})
        for number, seed in enumerate(self._seeds()):
            if (name := f"{_SEED}{number}") in store.keys():
                seed.assign(store[name])

    def _seeds(self):
        weights = {id(variable) for variable in self.weights}
        return [variable for variable in self.variables if id(variable) not in weights]
