"""The test card model: a constructed dual encoder that reads back the vector drawn into a card.

Like a television test card, it calibrates the instrument and depicts nobody. Its text encoder is a
fixed hash of words, pairs of words and whole texts to vectors; its image encoder averages the
tiles of a mosaic.
"""

import functools
import re

import numpy as np

from clipeval.files import file_sha256, sha256

GRID, TILE = 16, 2
CARD_SIZE = GRID * TILE  # pixels
DIMENSION = GRID * GRID * 3  # one number for each colour of each tile
GAIN = 700.0  # grey levels for a component of 1; a component's usual size is 1 / sqrt(768)
NOISE = 2.0  # standard deviation of the noise on every pixel, grey levels
LOGIT_SCALE = 100.0
CONTEXT_LENGTH = 77  # words


class WordTokenizer:
    """Words and marks to ids: a hash of each, so that there is no vocabulary and no unknown word."""

    context_length = CONTEXT_LENGTH

    def _ids(self, text: str) -> list[int]:
        words = re.findall(r"[^\W_]+|[^\s\w]", text.lower())
        return [int(sha256(w)[:14], 16) + 1 for w in words]

    def count_tokens(self, text: str) -> int:
        """Tokens that a text needs, untruncated."""
        return len(self._ids(text))

    def array(self, texts) -> np.ndarray:
        """Ids of each text's words, filled up with zeros: (n, 77) int64."""
        tokens = np.zeros((len(texts), CONTEXT_LENGTH), dtype=np.int64)
        for row, text in zip(tokens, texts, strict=True):
            ids = self._ids(text)[:CONTEXT_LENGTH]
            row[: len(ids)] = ids
        return tokens

    def __call__(self, texts):
        import torch

        return torch.from_numpy(self.array(list(texts)))


@functools.lru_cache(maxsize=100_000)
def _vector(*ids: int) -> np.ndarray:
    seed = int(sha256(f"test card {ids}")[:16], 16)
    return np.random.default_rng(seed).standard_normal(DIMENSION) / np.sqrt(DIMENSION)


def _token_vectors(tokens: np.ndarray) -> np.ndarray:
    """Sum of the vectors of each text's words, of its pairs of words, and of the whole."""
    rows = []
    for row in tokens:
        words = [int(word) for word in row if word] or [0]
        parts = [(w,) for w in words] + list(zip(words, words[1:], strict=False)) + [(-1, *words)]
        rows.append(np.sum([_vector(*part) for part in parts], axis=0))
    return np.asarray(rows, dtype=np.float32).reshape(-1, DIMENSION)


def text_vectors(texts) -> np.ndarray:
    """What the text encoder makes of each text: (n, 768) float32 rows, not normalised."""
    return _token_vectors(WordTokenizer().array(list(texts)))


def draw_cards(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw unit vectors (n, 768) as mosaics with noise: (n, 32, 32, 3) uint8."""
    tiles = 127.5 + GAIN * np.asarray(vectors, dtype=np.float64).reshape(-1, GRID, GRID, 3)
    pixels = tiles.repeat(TILE, axis=1).repeat(TILE, axis=2)
    pixels += NOISE * rng.standard_normal(pixels.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _preprocess(image):
    """RGB picture -> (3, 32, 32) float32 tensor of grey levels 0-1; a card is never resized."""
    import torch

    from clipeval.errors import DataError

    pixels = np.array(image.convert("RGB"), dtype=np.float32) / 255.0
    if pixels.shape[:2] != (CARD_SIZE, CARD_SIZE):
        raise DataError(
            f"the testcard model reads only cards of {CARD_SIZE} x {CARD_SIZE} pixels and this "
            f"image has {pixels.shape[1]} x {pixels.shape[0]}; name a real model for photographs."
        )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _encode_image(pixels):
    """(n, 3, 32, 32) -> (n, 768): the mean of each tile, back on the scale it was drawn with."""
    import torch

    tiles = torch.nn.functional.avg_pool2d(pixels.float(), TILE)
    return ((tiles * 255.0 - 127.5) / GAIN).permute(0, 2, 3, 1).flatten(1)


def _encode_text(tokens):
    """(n, 77) word ids -> (n, 768)."""
    import torch

    return torch.from_numpy(_token_vectors(tokens.cpu().numpy()))


def testcard_info(precision: str = "fp32"):
    """`ModelInfo` of the test card model, without loading torch."""
    from clipeval.models.info import make_info

    source = file_sha256(__file__)
    return make_info(
        config="testcard",
        model="testcard",
        pretrained="",
        precision=precision,
        resize="model",
        activation="",
        preprocess={"size": CARD_SIZE, "mode": "RGB", "resize_mode": "never resized"},
        logit_scale=LOGIT_SCALE,
        logit_bias=None,
        score="softmax",
        context_length=CONTEXT_LENGTH,
        embed_dim=DIMENSION,
        has_text=True,
        weights_sha256=source,
        weights="testcard",
    )


def load_testcard_model(device: str = "cpu", precision: str = "fp32"):
    """The test card model as a `clipeval.models.Model`; its only weights are a hash of words."""
    import torch

    from clipeval.models.model import Model

    return Model(
        testcard_info(precision),
        device=torch.device(device),
        preprocess=_preprocess,
        encode_image=_encode_image,
        encode_text=_encode_text,
        tokenizer=WordTokenizer(),
        before_projection=_encode_image,
    )
