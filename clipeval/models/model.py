"""The one object that studies know of a model: it encodes images and texts, and says what it is."""

from collections.abc import Callable

import numpy as np

from clipeval.errors import ModelError
from clipeval.models.device import computing
from clipeval.models.info import ModelInfo, check_scalars
from clipeval.models.tokens import check_texts, token_keys

BATCH = 256  # texts encoded at once


class Model:
    """A loaded model: encodes images and texts, and says what it is.

    Embeddings are returned as they leave the network; they are normalised in one place, by
    `clipeval.embedding`.

    Parameters
    ----------
    info : ModelInfo
    device : torch device that the network is on
    preprocess : function of an RGB PIL image to a float tensor (3, height, width)
    encode_image : function of pixels (n, 3, height, width) on the device to features (n, d)
    encode_text : function of tokens to features (n, d); None for image-only models
    tokenizer : function of a list of str to an integer tensor of tokens; None for image-only models
    before_projection : function of pixels to features before the projection; None where there are
        none to be had
    network : torch module that the encoders run, for runtimes that export it; None where it is not known

    Attributes
    ----------
    offers : function without arguments to the classes that will be asked, for each task a list of each
        class's prompts; by default none. Another runtime is held against torch on them.

    Raises
    ------
    ModelError  if the logit scale or bias in `info` is not usable
    """

    def __init__(
        self,
        info: ModelInfo,
        *,
        device,
        preprocess: Callable,
        encode_image: Callable,
        encode_text: Callable | None = None,
        tokenizer: Callable | None = None,
        before_projection: Callable | None = None,
        network=None,
    ):
        mend = "build it with the factor and bias that the model was trained with."
        check_scalars(info.logit_scale, info.logit_bias, info.model, mend)
        self.info = info
        self.device = device
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self._encode_image = encode_image
        self._encode_text = encode_text
        self._before_projection = before_projection
        self.network = network
        self.offers: Callable[[], list[list[list[str]]]] = list
        self._keys: dict[str, str] = {}  # of texts that fit

    def __repr__(self) -> str:
        name = ", ".join(filter(None, (self.info.model, self.info.pretrained)))
        return f"<clipeval Model {name} {self.info.precision} on {self.device}>"

    def encode_images(self, pixels, features: str = "projected"):
        """Return image features.

        Parameters
        ----------
        pixels : float tensor (n, 3, height, width), preprocessed, on any device
        features : "projected" (the space shared with texts), "pre_projection" (for linear probes) or
            "length", rows (1, length of the projected vector): the ratio survives being brought to length 1

        Returns
        -------
        float32 tensor (n, d) on the model's device, not normalised; a GPU may still be computing it

        Raises
        ------
        ModelError  if the model has no features before the projection
        """
        if features == "length":
            pairs = self.encode_images(pixels).norm(dim=1, keepdim=True).repeat(1, 2)
            pairs[:, 0] = 1
            return pairs
        if features not in ("projected", "pre_projection"):
            raise ModelError(f"features={features} is unknown; use projected or pre_projection.")
        encode = self._encode_image if features == "projected" else self._before_projection
        if encode is None:
            raise ModelError(
                f"{self.info.model} has no features before the projection; use features=projected."
            )
        with computing(self.device, self.info.precision):
            return encode(pixels.to(self.device)).float()

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Return text features, float32 (n, d), not normalised; refuse to truncate a text.

        Raises
        ------
        ModelError  if the model reads images only
        ClassSetError  if a text has more tokens than the model reads
        """
        import torch

        self.check_texts(texts)
        if not texts:
            return np.empty((0, self.info.embed_dim), np.float32)
        parts = []
        with computing(self.device, self.info.precision):
            for start in range(0, len(texts), BATCH):
                tokens = self.tokenizer(list(texts[start : start + BATCH])).to(self.device)
                parts.append(self._encode_text(tokens).float().cpu())
            return torch.cat(parts).numpy()

    def check_texts(self, texts: list[str]) -> list[str]:
        """Refuse texts that the model would read only in part, or cannot read at all.

        Returns
        -------
        list of str, for each text the hash of its tokens as they are sent: texts with the same
        tokens are one text to the model (see `clipeval.models.tokens.token_keys`)

        Raises
        ------
        ModelError  if the model reads images only
        ClassSetError  if a text has more tokens than the model reads
        """
        if not self.info.has_text:
            raise ModelError(
                f"{self.info.model} reads images only, so it can be used for linear probes and not "
                "for zero-shot classification; give a CLIP-like model for that."
            )
        new = [text for text in dict.fromkeys(texts) if text not in self._keys]
        if new:
            check_texts(self.tokenizer, new, self.info.context_length)
            self._keys.update(zip(new, token_keys(self.tokenizer, new), strict=True))
        return [self._keys[text] for text in texts]
