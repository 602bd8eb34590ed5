"""Every pair of model and tag runs as its own entry in open_clip's registry says, or is refused."""

import open_clip
import pytest

from clipeval.errors import ModelError
from clipeval.models.registry import known_activation, list_models, plan, resolve_activation
from clipeval.models.towers import assert_activation, build_network

PAIRS = open_clip.list_pretrained()
ROBERTA = ("roberta-ViT-B-32", "laion2b_s12b_b32k")


def entry(model, tag):
    return open_clip.get_pretrained_cfg(model, tag)


def disagree(model, tag):
    config = open_clip.get_model_config(model)
    return config.get("quick_gelu", False) != entry(model, tag).get("quick_gelu", False)


def test_every_pair_is_resolved_or_refused():
    refused, seen = [], 0
    for model, tag in PAIRS:
        seen += 1
        if disagree(model, tag) and (model, tag) != ROBERTA:
            with pytest.raises(ModelError, match=f"use {model}-quickgelu"):
                plan(model, tag)
            refused.append((model, tag))
            continue
        p, own = plan(model, tag), entry(model, tag)
        for key in ("mean", "std"):
            assert p.preprocess[key] == list(own[key])
        assert p.preprocess["interpolation"] == own["interpolation"]
        assert p.preprocess["resize_mode"] == own["resize_mode"]
        size = open_clip.get_model_config(model)["vision_cfg"].get("image_size", 224)
        assert p.preprocess["size"] == (list(size) if isinstance(size, list) else [size, size])
        quick = own.get("quick_gelu", False) or (model, tag) == ROBERTA
        assert p.config["quick_gelu"] is quick
        assert resolve_activation(model, tag) == ("quickgelu" if quick else "gelu")
        assert p.hub and p.hub == own["hf_hub"]
    assert seen == len(PAIRS) > 150
    # every refused pair can be run under its right name
    for model, tag in refused:
        assert plan(f"{model}-quickgelu", tag).activation == "quickgelu"
    if open_clip.__version__ == "3.3.0":
        assert (seen, len(refused)) == (196, 27)


def test_refusal_names_the_right_configuration():
    with pytest.raises(ModelError) as error:
        resolve_activation("ViT-B-32", "openai")
    assert str(error.value) == (
        "ViT-B-32 with pretrained=openai would run with GELU, but these weights were trained with "
        "QuickGELU; use ViT-B-32-quickgelu."
    )
    with pytest.raises(
        ModelError, match="would run with QuickGELU.*trained with GELU; use ViT-B-32"
    ):
        resolve_activation("ViT-B-32-quickgelu", "laion2b_s34b_b79k")


def test_where_only_the_entry_forgets_quickgelu_the_configuration_is_followed():
    assert disagree(*ROBERTA)
    assert plan(*ROBERTA).config["quick_gelu"] is True
    assert plan(*ROBERTA).activation == "quickgelu"


def test_without_a_rightly_named_configuration_the_activation_is_set(monkeypatch):
    """No pair of open_clip 3.3 needs it, a later one may."""
    real = open_clip.get_pretrained_cfg
    monkeypatch.setattr(
        open_clip,
        "get_pretrained_cfg",
        lambda m, t: (
            {**real("ViT-B-32", "openai")} if (m, t) == ("ViT-B-32-256", "x") else real(m, t)
        ),
    )
    p = plan("ViT-B-32-256", "x")
    assert (p.activation, p.config["quick_gelu"]) == ("quickgelu", True)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ViT-B/32-quickgelu", "ViT-B-32-quickgelu"),
        ("ViT-L/14@336px-quickgelu", "ViT-L-14-336-quickgelu"),
    ],
)
def test_openai_spelling(written, name):
    assert plan(written, "openai") == plan(name, "openai")
    assert plan(written, "openai").model == name


def test_unknown_names_suggest_close_ones():
    with pytest.raises(
        ModelError, match="no model is named vit-b32-quickgelu; did you mean .*ViT-B-32"
    ):
        plan("vit-b32-quickgelu", "openai")
    with pytest.raises(ModelError, match="has no weights named opnai.*did you mean openai"):
        plan("ViT-B-32-quickgelu", "opnai")
    # a tag that would be refused is not suggested
    with pytest.raises(ModelError) as error:
        plan("ViT-B-32", "opena")
    assert "openai" not in str(error.value)


def test_list_starts_with_the_released_models_and_lists_each_pair_once():
    table = list_models()
    assert table["model"][:9].tolist() == [
        *("RN50-quickgelu", "RN101-quickgelu", "RN50x4-quickgelu", "RN50x16-quickgelu"),
        *("RN50x64-quickgelu", "ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu"),
        "ViT-L-14-336-quickgelu",
    ]
    assert (table["pretrained"][:9] == "openai").all()
    assert table["released"].sum() == 9 and table["released"][:9].all()
    assert table["image_size"][:9].tolist() == [224, 224, 288, 384, 448, 224, 224, 224, 336]
    assert table["source"][5] == "timm/vit_base_patch32_clip_224.openai"
    assert not table.duplicated(["model", "pretrained"]).any()
    for row in table.itertuples():
        assert row.source
        if (row.model, row.pretrained) != ROBERTA:
            assert not disagree(row.model, row.pretrained)
    refused = sum(disagree(*pair) and pair != ROBERTA for pair in PAIRS)
    assert len(table) == len(PAIRS) - refused


def test_weight_files_betray_their_activation_by_name():
    hub = (
        "/c/models--timm--vit_base_patch32_clip_224.openai/snapshots/0/open_clip_model.safetensors"
    )
    assert known_activation(hub)[0] == "quickgelu"
    assert known_activation("/m/metaclip/b32_400m.pt") == ("quickgelu", "b32_400m.pt")
    assert known_activation("/m/ViT-B-32-openai.safetensors") == ("quickgelu", "openai")
    laion = (
        "/c/models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K/snapshots/0/open_clip_model.safetensors"
    )
    assert known_activation(laion)[0] == "gelu"
    assert known_activation("/m/mine/epoch_3.pt") == ("", "")
    assert known_activation("/m/mine/ViT-B-32.pt") == ("", "")


VIT = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear", "image_size": 160}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("vision", [VIT, RESNET, TIMM], ids=["vit", "resnet", "timm"])
def test_built_networks_run_the_recorded_activation(vision, quick):
    config = {"embed_dim": 16, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": TEXT}
    network = build_network(config, {})
    right, wrong = ("quickgelu", "gelu") if quick else ("gelu", "quickgelu")
    assert_activation(network, right)
    for other in (wrong, ""):
        with pytest.raises(ModelError, match=f"built with {right}"):
            assert_activation(network, other)


def test_a_single_wrong_activation_is_found():
    import torch

    config = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT}
    network = build_network(config, {})
    network.visual.transformer.resblocks[0].mlp.gelu = torch.nn.GELU()
    with pytest.raises(ModelError, match="built with gelu and quickgelu"):
        assert_activation(network, "quickgelu")
