"""What a teacher answers about a batch, as one value: of all classes or the `top_k`, live or stored."""

from keras_distill.answers.answer import Answer, Logits, TemperedLogits, as_answer
from keras_distill.answers.top_k import TopK

__all__ = ["Answer", "Logits", "TemperedLogits", "TopK", "as_answer"]
