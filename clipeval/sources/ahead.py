"""What loading a model and sending prompts would meet: looked at before hours are spent."""

import functools

from clipeval.errors import ModelError


def check_model(parameters, known, study) -> str:
    """The model is known, its activation right, its weights at hand or to be downloaded.

    Parameters
    ----------
    parameters : of the study
    known : ModelInfo on record, or None
    study : the study that asks; see `clipeval.session.study.Study.words`

    Returns
    -------
    str, a line about the model

    Raises
    ------
    ModelError  if it cannot be loaded, or has no text encoder where the study needs one
    """
    from clipeval.models.info import model_line
    from clipeval.models.load import find_loader, is_registered
    from clipeval.models.runtimes import check_runtime

    p = parameters
    check_runtime(p.run_by, p.precision, p.device)
    if p.device not in ("auto", "cpu"):
        from clipeval.models.device import choose_device

        choose_device(p.device)
    if p.model == "testcard":
        return "testcard"
    if p.model.startswith("timm:") and study.words(p) == "needed":
        raise ModelError(
            f"{p.model} has no text encoder, so {study.id} cannot ask it anything; "
            "use it for fairface with methods=linear probe, or name a CLIP-like model."
        )
    if known:
        return model_line(known.name, "known", known.weights_text)
    if p.model.startswith("timm:"):
        from clipeval.models.backbones import check_backbone

        return check_backbone(p.model, p.pretrained or None)
    if is_registered(p.model):
        return model_line(find_loader(p.model)[2], "a loader of your own")
    return _previewed(p)[2]


def check_texts(parameters, known, new) -> str | None:
    """No prompt would be truncated, as far as the tokenizer is at hand; stored ones were not.

    Parameters
    ----------
    parameters, known : as in `check_model`
    new : prompts of which the store has no vector, sorted

    Returns
    -------
    str, how many were looked at; None where there was none to look at or no tokenizer to ask

    Raises
    ------
    ClassSetError  if a prompt is too long for the model
    """
    from clipeval.models.tokens import check_texts

    if known and not known.has_text:
        return None
    if not new or (tokenizer := _tokenizer(parameters)) is None:
        return None
    check_texts(tokenizer, new, tokenizer.context_length)
    return f"{len(new):,} not sent before, none too long"


def token_signs(parameters, prompts) -> list[str] | None:
    """Hashes of the prompts' tokens; None where no tokenizer is at hand."""
    from clipeval.models.tokens import token_keys

    tokenizer = _tokenizer(parameters)
    return None if tokenizer is None else token_keys(tokenizer, prompts)


def _tokenizer(p):
    """The tokenizer of a model that is not loaded; None where only its loader or the hub has it."""
    from clipeval.models.load import is_registered
    from clipeval.models.tokens import build_tokenizer

    if p.model == "testcard":
        from clipeval.models.testcard import WordTokenizer

        return WordTokenizer()
    if p.model.startswith("timm:") or is_registered(p.model):
        return None
    config, folder, _ = _previewed(p)
    text = (config or {}).get("text_cfg", {})
    if config is None or (text.get("hf_tokenizer_name") and folder is None):
        return None  # still on the hub; encoding refuses a truncation anyhow
    return build_tokenizer(text, folder)


def forget() -> None:
    """Look at every model anew."""
    _preview.cache_clear()


def _previewed(p) -> tuple:
    found, error = _preview(p.model, p.pretrained or None, p.weights)
    if error:
        raise error
    return found


@functools.lru_cache
def _preview(model: str, pretrained: str | None, weights: str) -> tuple:
    """What `preview` returned or raised, asked once for all studies."""
    from clipeval.models.preview import preview

    try:
        return preview(model, pretrained, weights), None
    except ModelError as error:
        return None, error
