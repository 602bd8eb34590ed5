"""Every family of models that open_clip knows, reduced and with random weights: numbers as plain open_clip's."""

import copy
import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from test_models import CONFIG, TEXTS, WEIGHTS, in_hub_cache, noise

from clipeval.errors import ClassSetError
from clipeval.models import load_model
from clipeval.models.registry import plan
from clipeval.models.tokens import build_tokenizer, check_texts, unknown_tokens

#: family -> built-in configuration, changes of its image tower, changes of its text tower
THIN = {"width": 64, "heads": 2, "layers": 1, "vocab_size": 49408}
VIT = {"layers": 1, "width": 64, "head_width": 32, "image_size": 32, "patch_size": 16}
TIMM = {"timm_model_name": "test_vit", "image_size": 160}
WORDS = {"vocab_size": 16}
FAMILIES = {
    "SigLIP": ("ViT-B-16-SigLIP", TIMM | {"timm_pool": "map"}, THIN | WORDS),
    "SigLIP2": ("ViT-B-32-SigLIP2-256", TIMM | {"timm_pool": "map"}, THIN | WORDS),
    "CLIPA": ("ViT-L-14-CLIPA", VIT, THIN | WORDS),
    "MobileCLIP": ("MobileCLIP-S1", {"image_size": 64}, THIN),
    "MobileCLIP2": ("MobileCLIP2-S0", {"image_size": 64}, THIN),
    "PE": ("PE-Core-T-16-384", {}, THIN),
    "EVA02": ("EVA02-B-16", {"timm_model_name": "eva02_tiny_patch14_224", "image_size": 224}, THIN),
    "CoCa": ("coca_ViT-B-32", VIT | {"attn_pooler_heads": 2}, THIN),
    "NLLB": ("nllb-clip-base", VIT, {}),
    "roberta": ("roberta-ViT-B-32", VIT, {}),
}
MULTIMODAL = {"width": 64, "heads": 2, "layers": 1, "attn_pooler_heads": 2}


def reduced(family: str) -> tuple[dict, dict]:
    """A family's own configuration, with its every switch and fewer and narrower layers; its preprocess."""
    name, vision, text = FAMILIES[family]
    p = plan(name, open_clip.list_pretrained_tags_by_model(name)[0])
    config = copy.deepcopy(p.config)
    if not config["text_cfg"].get("hf_tokenizer_name"):
        text = {k: v for k, v in text.items() if k != "vocab_size"}
    config["vision_cfg"] |= vision
    config["text_cfg"] |= text
    config["embed_dim"] = 64
    if config["text_cfg"].get("output_dim"):
        config["text_cfg"]["output_dim"] = 64
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= MULTIMODAL
    return config, p.preprocess


def word_tokenizer(folder):
    """A tokenizer of whole words, as transformers saves it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = "<pad> <s> </s> <unk> a photo of man woman child , smiling eng_Latn".split()
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def text_tower(folder, kind: str):
    """The configuration of a small text tower of transformers."""
    from transformers import M2M100Config, RobertaConfig

    if kind == "roberta":
        tower = RobertaConfig(
            vocab_size=16,
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=90,
            pad_token_id=0,
        )
    else:
        tower = M2M100Config(
            vocab_size=16,
            d_model=32,
            encoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=64,
            max_position_embeddings=90,
            pad_token_id=0,
        )
    tower.save_pretrained(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_numbers_of_plain_open_clip(family, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    config, preprocess = reduced(family)
    folder, text = tmp_path / "model", config["text_cfg"]
    folder.mkdir()
    if text.get("hf_tokenizer_name"):
        word_tokenizer(folder)
    if name := text.get("hf_model_name"):
        text_tower(tmp_path / "tower", family)
        in_hub_cache(tmp_path / "hub", name, [tmp_path / "tower" / "config.json"])
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    # plain open_clip, whose text tower of transformers is given by its folder
    theirs = tmp_path / "theirs"
    shutil.copytree(folder, theirs)
    if name:
        plain_text = text | {"hf_model_name": str(tmp_path / "tower")}
        plain = {"model_cfg": config | {"text_cfg": plain_text}, "preprocess_cfg": preprocess}
        (theirs / CONFIG).write_text(json.dumps(plain))
    torch.manual_seed(0)
    network = open_clip.create_model(
        f"local-dir:{theirs}", load_weights=False, pretrained_text=False
    ).eval()
    with torch.no_grad():  # biases and scales of layers begin as 0 and 1
        for tensor in network.parameters():
            tensor.nan_to_num_(0, 0, 0).clamp_(-10, 10)  # CoCa leaves one as the memory was
            noisy = torch.randn_like(tensor) if tensor.ndim else torch.zeros_like(tensor)
            tensor += (0.1 if tensor.ndim < 2 else 0.02) * noisy
        if family.startswith("Mobile"):  # normalised by batches: they are to have seen some
            for module in network.modules():
                module.momentum = 1.0
            network.train().encode_image(noise(network.visual.image_size[0], n=4))
            network.eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)

    model = load_model(f"local-dir:{folder}", device="cpu")
    size = model.info.preprocess["size"]
    assert size == list(network.visual.image_size)
    tokens = open_clip.get_tokenizer(f"local-dir:{theirs}")(TEXTS)
    assert torch.equal(model.tokenizer(TEXTS), tokens)
    pixels = noise(size[0])
    with torch.no_grad():
        image, words = network.encode_image(pixels), network.encode_text(tokens)
        if family == "CoCa":  # normalises unless told otherwise
            image = network.encode_image(pixels, normalize=False)
            words = network.encode_text(tokens, normalize=False)
    got, said = model.encode_images(pixels), model.encode_texts(TEXTS)
    assert got.shape == (2, 64) and said.shape == (3, 64)
    assert np.ptp(said, axis=0).max() > 1e-3 and np.ptp(got.numpy(), axis=0).max() > 1e-4
    np.testing.assert_allclose(got, image, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(said, words, atol=1e-5, rtol=1e-5)
    bias = getattr(network, "logit_bias", None)
    assert model.info.logit_scale == pytest.approx(network.logit_scale.exp().item(), rel=1e-6)
    assert model.info.score == ("softmax" if bias is None else "sigmoid")
    assert model.info.logit_bias == (None if bias is None else pytest.approx(bias.item()))


def test_a_text_that_the_tokenizer_does_not_know_is_refused(tmp_path):
    """A vocabulary without a word gives its token for unknown ones: two such labels would be one text."""
    word_tokenizer(tmp_path)
    tokenizer = build_tokenizer({"hf_tokenizer_name": "some/name"}, tmp_path)
    known = [w for w in tokenizer.tokenizer.get_vocab() if not w.startswith("<")][0]
    assert unknown_tokens(tokenizer, known) == 0
    assert unknown_tokens(tokenizer, f"{known} 白人 мужчина") == 2
    check_texts(tokenizer, [known], 77)
    with pytest.raises(
        ClassSetError, match="holds words that this model's tokenizer does not know"
    ):
        check_texts(tokenizer, [known, "мужчина"], 77)
    # CLIP's own vocabulary is made of bytes
    assert unknown_tokens(build_tokenizer({}), "白人") == 0
