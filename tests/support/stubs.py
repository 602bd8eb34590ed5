"""The smallest model with the face of `clipeval.models.Model`, by plain open_clip or by numpy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Info:
    fingerprint: str
    model: str = "stub"
    pretrained: str = ""
    precision: str = "fp32"
    embed_dim: int = 64


class OpenClipModel:
    """Plain open_clip, eval mode, its own transforms."""

    device = "cpu"

    def __init__(self, folder, name="local-dir:{}"):
        import open_clip

        name = name.format(folder)
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    def encode_images(self, pixels, features="projected"):
        return self.model.encode_image(pixels)

    def encode_texts(self, texts):
        import torch

        with torch.inference_mode():
            return self.model.encode_text(self.tokenizer(texts)).numpy()

    def check_texts(self, texts):
        pass


class NumpyModel:
    """Averages over an 8 x 8 grid; no torch anywhere. Counts what it was given."""

    device = "cpu"

    def __init__(self):
        self.images, self.texts, self.checked = 0, [], []

    @staticmethod
    def preprocess(image):
        return np.asarray(image.resize((8, 8)), dtype=np.float32) / 255 + 0.01

    def encode_images(self, pixels, features="projected"):
        self.images += len(pixels)
        return pixels.reshape(len(pixels), -1)

    def encode_texts(self, texts):
        self.texts += texts
        return np.array([[len(text), sum(map(ord, text)), 1.0] for text in texts], dtype=np.float64)

    def check_texts(self, texts):
        self.checked += texts
