"""The tests of `keras.distillation`, out of the installed Keras, run against our classes."""

import unittest

import keras.src.distillation.distillation_loss as peer_losses
import keras.src.distillation.distiller as peer_distiller
import pytest

import keras_distill as kd


@pytest.fixture
def peer_modules(monkeypatch):
    """Import the peer's test modules with our classes in the place of theirs."""
    monkeypatch.setattr(peer_distiller, "Distiller", kd.Distiller)
    monkeypatch.setattr(peer_losses, "LogitsDistillation", kd.losses.LogitsDistillation)
    monkeypatch.setattr(peer_losses, "FeatureDistillation", kd.losses.FeatureDistillation)
    import importlib

    import keras.src.distillation.distillation_loss_test as losses_test
    import keras.src.distillation.distiller_test as distiller_test

    modules = [importlib.reload(distiller_test), importlib.reload(losses_test)]
    assert modules[0].Distiller is modules[1].Distiller is kd.Distiller
    return modules


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Theirs are run as they run them.
def test_the_peers_own_tests_pass(peer_modules):
    suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromModule, peer_modules))
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 16
    assert not result.skipped
    assert not [trace for _, trace in result.failures + result.errors]
