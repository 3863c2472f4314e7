"""Which of these tests a process can run: the backend is chosen once, before Keras is imported."""

import keras

collect_ignore = [] if keras.backend.backend() == "jax" else ["test_dark_knowledge.py", "test_training.py"]
