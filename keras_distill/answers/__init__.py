"""What a teacher answers about a batch, as one value: all classes or the `top_k`, live or stored, at any temperature."""

from keras_distill.answers.answer import Answer, Logits, TemperedLogits, as_answer
from keras_distill.answers.top_k import TopK

__all__ = ["Answer", "Logits", "TemperedLogits", "TopK", "as_answer"]
