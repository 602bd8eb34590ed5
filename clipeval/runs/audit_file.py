"""One file for an audit of one's own data: where they lie, what to report by, which words, which models."""

from pathlib import Path

import yaml

from clipeval.classify.word_files import parse
from clipeval.errors import ClassSetError, ParameterError, did_you_mean, one_line

#: what an audit file may hold -> the kinds of YAML values it may be
_KEYS: dict[str, tuple[type, ...]] = {
    "about": (str,),
    "data": (str,),
    "dataset": (str,),
    "columns": (dict,),
    "groups": (str, list),
    "person": (str,),
    "title": (str,),
    "licence": (str,),
    "citation": (str,),
    "labelled_by": (str,),
    "class_sets": (str, dict),
    "templates": (str,),
    "models": (str, list),
    "studies": (str, list),
    "parameters": (dict,),
}
_USUAL = ["denigration", "congress", "card"]
#: studies whose headline numbers the sensitivity study can vary by one class set
_VARIED = ("fairface", "denigration", "congress")


def is_audit_file(profile: str) -> bool:
    """Whether a profile is named by a file of one's own, rather than by a bundled one's name."""
    return profile.endswith((".yaml", ".yml"))


def read_audit(name: str) -> dict:
    """An audit file as a profile.

    Parameters
    ----------
    name : path of the file; paths in it are relative to its folder

    Returns
    -------
    dict: name, about, run (study ids), all and studies (parameters), models ("A,B@TAG", as for `--models`;
    "" for one alone, which is a parameter)

    Raises
    ------
    ParameterError  if it is not there or cannot be read, or holds something unknown, which it names
    """
    path = Path(name).expanduser().absolute()
    try:
        content = parse(path.read_text("utf-8"))
    except ClassSetError as error:
        raise ParameterError(f"{name} cannot be read as an audit file: {error}") from None
    except FileNotFoundError:
        raise ParameterError(
            f"{name} cannot be read as an audit file: it does not exist; correct the path."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"{name} cannot be read as an audit file: {one_line(error)}") from None
    _check(content, path)
    folder, words = path.parent, content.get("class_sets", {})
    values = {"dataset": content.get("dataset", "manifest")}
    values |= {"data": _place(folder, content["data"])} if content.get("data") else {}
    values |= {
        k: content[k]
        for k in ("person", "title", "licence", "citation", "labelled_by")
        if k in content
    }
    if columns := content.get("columns"):
        values["columns"] = ",".join(f"{name}:{column}" for name, column in columns.items())
    if groups := content.get("groups"):
        values["groups"] = groups if isinstance(groups, str) else ",".join(map(str, groups))
    if "templates" in content:
        values["templates"] = _place(folder, content["templates"])
    own = {}
    if isinstance(words, str):
        values["class_set"] = _place(folder, words)
    else:
        own = {study: {"class_set": _place(folder, spec)} for study, spec in words.items()}
    run = content.get("studies") or ([*own, "card"] if own else _USUAL)
    run = [item.strip() for item in run.split(",")] if isinstance(run, str) else run
    varied = [study for study in own if study in _VARIED]
    if varied and len({own[study]["class_set"] for study in varied}) == 1:
        own.setdefault("sensitivity", {"class_set": own[varied[0]]["class_set"]})
        own["sensitivity"]["studies"] = ",".join(varied)
    for name, value in (content.get("parameters") or {}).items():
        study, dot, bare = str(name).partition(".")
        value = _place(folder, value) if isinstance(value, str) else value
        if dot:
            own.setdefault(study, {})[bare] = value
        else:
            values[study] = value
    models = ",".join(_models(content.get("models", []), folder))
    if models and "," not in models:
        model, at, tag = models.partition("@")
        alone = models.startswith(
            ("local-dir:", "hf-hub:", "python:")
        )  # may hold an @ of their own
        values["model"], values["pretrained"] = (models, "") if alone else (model, tag)
        models = ""
    return {
        "name": path.stem,
        "about": content.get("about", ""),
        "run": list(dict.fromkeys(run)),
        "all": values,
        "studies": own,
        "models": models,
    }


def _check(content, path: Path) -> None:
    if not isinstance(content, dict):
        raise ParameterError(f"{path.name} holds no keys; begin with data: and models:.")
    for key, value in content.items():
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS, f"it may hold {', '.join(_KEYS)}.")
            raise ParameterError(f'{path.name} holds "{key}", which is not known; {hint}')
        if not isinstance(value, _KEYS[key]):
            kinds = " or ".join({str: "text", list: "a list", dict: "keys"}[k] for k in _KEYS[key])
            raise ParameterError(
                f"{path.name}: {key} is {value!r} and must be {kinds}; correct it."
            )
    for key in ("class_sets", "studies", "models", "groups"):
        within = content.get(key, [])
        for item in within.values() if isinstance(within, dict) else within:
            if not isinstance(item, str):
                raise ParameterError(
                    f"{path.name}: {key} holds {item!r} where a name belongs; correct it."
                )
    listed = content.get("groups") if isinstance(content.get("groups"), list) else []
    if parted := next((name for name in listed if "," in name), ""):
        raise ParameterError(
            f'{path.name}: groups holds "{parted}", and a comma separates two groups; rename the column in the table, '
            "or write two items."
        )
    for name, column in (content.get("columns") or {}).items():
        if set(f"{name}{column}") & {",", ":"} or not isinstance(column, str):
            raise ParameterError(
                f"{path.name}: columns maps {name} to {column!r}, and both must be text without commas and "
                "colons; rename the column in the table."
            )


def _place(folder: Path, text: str) -> str:
    """A path within the file's folder, where there is such a file or folder; other words as they are."""
    prefix = "local-dir:" if text.startswith("local-dir:") else ""
    name, colon, variant = text.removeprefix(prefix).partition(".yaml:")
    name, variant = (f"{name}.yaml", f":{variant}") if colon else (name, "")
    found = folder / Path(name).expanduser()
    is_path = prefix or "/" in name or Path(name).suffix or found.is_dir()
    return f"{prefix}{found}{variant}" if name and is_path and found.exists() else text


def _models(models, folder: Path) -> list[str]:
    """Models as `--models` takes them."""
    items = models.split(",") if isinstance(models, str) else models
    return [_place(folder, str(item).strip()) for item in items if str(item).strip()]
