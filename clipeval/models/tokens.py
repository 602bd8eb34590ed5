"""Tokenizers, and counting their tokens: open_clip cuts a long text without a word."""

import json
from collections.abc import Callable
from pathlib import Path

from clipeval.errors import ClassSetError, ModelError, first_line
from clipeval.files import sha256
from clipeval.models.configuration import tokenizer_options
from clipeval.models.hub import hub_check, require_hub

#: any of these says that a folder holds a Hugging Face tokenizer
_TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model"]


def build_tokenizer(text_config: dict, folder: Path | None = None):
    """Return the tokenizer that a model configuration names.

    Parameters
    ----------
    text_config : `text_cfg` of an open_clip configuration
    folder : where the tokenizer's files are, for a configuration that came from a folder; otherwise
        they are looked for in the hub's cache, and only then on the hub

    Raises
    ------
    ModelError  if the tokenizer's files are on no disk and cannot be had, are damaged, or would run
        code of their own
    """
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

    context = text_config.get("context_length", DEFAULT_CONTEXT_LENGTH)
    options = tokenizer_options(text_config)
    name = text_config.get("hf_tokenizer_name")
    if not name:
        return SimpleTokenizer(context_length=context, **options)
    options |= {"context_length": context, "tokenizer_mode": text_config.get("tokenizer_mode")}
    # False, and not left out: transformers would then ask on the terminal, or go by its own default
    options |= {"trust_remote_code": False}
    cached = check_tokenizer(name, folder)
    if cached is not None:
        try:  # by its folder: a name is looked up on the hub, whatever is on disk
            return HFTokenizer(str(cached), local_files_only=True, **options)
        except Exception as error:  # transformers' are many
            if folder is not None or _needs_code(error):
                raise ModelError(_damaged(folder or cached, name, error)) from None
            require_hub(name, f"all of the tokenizer {name}")
    try:
        return HFTokenizer(name, **options)
    except Exception as error:
        raise ModelError(_damaged(f"{name} of the hub", name, error)) from None


def check_tokenizer(name: str, folder: Path | None) -> Path | None:
    """Return the folder on disk with a tokenizer's files; None where they would be downloaded.

    Parameters
    ----------
    name, folder : as in `build_tokenizer`, of a Hugging Face tokenizer

    Raises
    ------
    ModelError  if they are neither on a disk nor to be had
    """
    if folder is None:
        found = hub_check(name, _TOKENIZER, what=f"the tokenizer {name}")
        return found and found.parent
    if not any((folder / file).is_file() for file in _TOKENIZER):
        raise ModelError(
            f"{folder} holds no tokenizer, and its configuration names that of {name}; put its "
            "tokenizer.json and tokenizer_config.json there."
        )
    return folder


def _needs_code(error: Exception) -> bool:
    return "trust_remote_code" in str(error)


def _damaged(place, name: str, error: Exception) -> str:
    if _needs_code(error):
        return (
            f"the tokenizer in {place} would run code that came with it, which clipeval never does; "
            "save it as a tokenizer.json of a class that transformers has, or load the model by a "
            "loader of your own (docs/models.md)."
        )
    return (
        f"the tokenizer in {place} cannot be loaded ({first_line(error)}); get the files of {name} "
        "again, and install what that sentence names."
    )


def tokenizer_files(tokenizer: Callable, folder: Path | None) -> list[Path]:
    """Return the files of a Hugging Face tokenizer; CLIP's own is part of open_clip.

    Parameters
    ----------
    tokenizer : what `build_tokenizer` returned
    folder : as there; None for one from the hub's cache
    """
    name = getattr(getattr(tokenizer, "tokenizer", None), "name_or_path", None)
    if not name:
        return []
    if Path(name).is_dir():
        folder = Path(name)
    if folder is None:
        from huggingface_hub import try_to_load_from_cache

        for file in ("tokenizer_config.json", "config.json", "tokenizer.json"):
            path = try_to_load_from_cache(name, file)
            if isinstance(path, str):
                folder = Path(path).parent
                break
        else:
            return []
    ends = (".json", ".txt", ".model", ".jinja")
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix in ends and p.name != "open_clip_config.json" and p.is_file()
    )


def count_tokens(tokenizer: Callable, text: str) -> int | None:
    """Return how many tokens a text needs, start and end included; None if it cannot be told."""
    if callable(getattr(tokenizer, "count_tokens", None)):
        return int(tokenizer.count_tokens(text))
    from open_clip.tokenizer import (
        HFTokenizer,
        SigLipTokenizer,
        SimpleTokenizer,
        basic_clean,
        canonicalize_text,
    )

    if isinstance(tokenizer, SimpleTokenizer):
        return len(tokenizer.encode(text)) + 2
    if isinstance(tokenizer, HFTokenizer):
        text = tokenizer.clean_fn(text)
        if (
            tokenizer.tokenizer_mode == "clips"
        ):  # start and end tokens, and a class token in the last place
            return len(tokenizer.tokenizer(text, add_special_tokens=False).input_ids) + 3
        return len(tokenizer.tokenizer(text, truncation=False).input_ids)
    if isinstance(tokenizer, SigLipTokenizer):
        return len(
            tokenizer.tokenizer(canonicalize_text(basic_clean(text)), truncation=False).input_ids
        )
    return None


def unknown_tokens(tokenizer: Callable, text: str) -> int:
    """How many parts of a text a Hugging Face tokenizer replaces by its token for unknown ones; 0 for others."""
    own = getattr(tokenizer, "tokenizer", None)
    unknown = getattr(own, "unk_token_id", None)
    # a byte-level vocabulary has no unknown text, and often names its end token as the unknown one
    if unknown is None or unknown in (own.eos_token_id, own.bos_token_id, own.pad_token_id):
        return 0
    clean = getattr(tokenizer, "clean_fn", None) or (lambda text: text)
    return list(own(clean(text), add_special_tokens=False).input_ids).count(unknown)


def token_keys(tokenizer: Callable, texts: list[str]) -> list[str]:
    """Return for each text a hash of its tokens as they are sent; equal ones are one text to it.

    What a tokenizer's own cleaning makes equal is equal here: case, white space and HTML entities
    for CLIP's, punctuation for SigLIP's, whatever its files say for one of transformers.

    Parameters
    ----------
    tokenizer : function of a list of str to an integer tensor (n, length)
    texts : n strings, each tokenized alone, as the padding of a batch may depend on the others

    Returns
    -------
    list of n str, sha256 of the ids
    """
    # the test cards' own reads without torch; its file is not touched, as its hash is the model's
    read = getattr(tokenizer, "_ids", None) or (lambda text: tokenizer([text])[0].tolist())
    return [sha256(json.dumps(read(text))) for text in texts]


def check_texts(tokenizer: Callable, texts: list[str], context_length: int | None) -> None:
    """Refuse a text that the model would read only in part.

    Raises
    ------
    ClassSetError  naming the first such text, its tokens and how many the model reads; or a text of which the
        tokenizer knows some part not at all, as of a language that its vocabulary lacks
    """
    for text in texts:
        shown = text if len(text) <= 40 else text[:37].rstrip() + " ..."
        if unknown_tokens(tokenizer, text):
            raise ClassSetError(
                f'label "{shown}" holds words that this model\'s tokenizer does not know, so that the '
                "model would not read them; use words of a language that it was trained on."
            )
        n = count_tokens(tokenizer, text)
        if n is None:
            # A foreign tokenizer shows that it is full when another word makes no difference.
            rows = [tokenizer([t])[0].tolist() for t in (text, f"{text} and")]
            if rows[0] == rows[1]:
                raise ClassSetError(
                    f'label "{shown}" fills all {len(rows[0])} tokens that this model reads, or '
                    "needs more; shorten it."
                )
        elif context_length is not None and n > context_length:
            raise ClassSetError(
                f'label "{shown}" needs {n} tokens and this model reads {context_length}; '
                "shorten it."
            )
