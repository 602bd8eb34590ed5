"""The YAML files of words: where class sets and templates are found, and how they are read."""

import copy
import functools
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from clipeval.errors import ClassSetError, as_text, one_line
from clipeval.paths import DATA

_YAML = re.compile(r"(.+\.ya?ml)(?::.*)?")


class _StrictLoader(yaml.CSafeLoader):
    """YAML without surprises: a key written twice is an error, and every scalar stays text."""


def _mapping(loader, node):
    keys = [loader.construct_scalar(key) for key, _ in node.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ClassSetError(
            f'"{twice[0]}" stands twice in line {node.start_mark.line + 1} and below; '
            "a name may stand there once only, remove one."
        )
    return {
        key: loader.construct_object(value, deep=True)
        for key, (_, value) in zip(keys, node.value, strict=True)
    }


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


for _tag in ("int", "float", "bool", "null", "timestamp"):
    _StrictLoader.add_constructor(
        f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node)
    )


#: further folders in which class sets and templates are found by name: those of a user's own studies
_FOLDERS: list[Path] = []


def search_also(folder: Path) -> None:
    """Find class sets and templates of a folder by their names too, after those of the package."""
    if folder not in _FOLDERS:
        _FOLDERS.append(folder)


def known_files(folder: str) -> dict[str, Path]:
    """Name -> file, of everything that can be named: "class_sets" or "templates"."""
    own = [path for other in _FOLDERS for path in sorted(other.glob("*.yaml"))]
    bundled = sorted((DATA / folder).glob("*.yaml"))
    return {path.stem: path for path in [*own, *bundled]}


def yaml_file(value: object) -> Path | None:
    """The user's own YAML file that a parameter names, as FILE.yaml or FILE.yaml:VARIANT; None if it names none."""
    named = _YAML.fullmatch(value) if isinstance(value, str) else None
    return Path(named[1]).expanduser() if named else None


#: what a file of each folder is called
_CALLED = {"class_sets": "class set", "templates": "template set"}


def find(spec: str, folder: str) -> tuple[Path, str]:
    """Path and variant of `NAME`, `NAME:VARIANT`, `FILE.yaml` or `FILE.yaml:VARIANT`, in "class_sets" or "templates".

    Raises
    ------
    ClassSetError  if there is no such file
    """
    spec = as_text(spec, _CALLED[folder])
    name, _, variant = spec.partition(".yaml:") if ".yaml:" in spec else (spec, "", "")
    if variant:
        name += ".yaml"
    elif not name.endswith((".yaml", ".yml")):
        name, _, variant = name.partition(":")
    known = known_files(folder)
    path = known.get(name, DATA / folder / f"{name}.yaml")
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(known))
        raise ClassSetError(
            f'{_CALLED[folder]} "{spec}" is not known; name one of {known}, or the path of a .yaml file.'
        )
    return path, variant


def is_bundled(spec: str, folder: str) -> bool:
    """Whether `NAME` or `NAME:VARIANT` names a file of the package; FILE.yaml is the user's."""
    return not yaml_file(spec) and (DATA / folder / f"{spec.partition(':')[0]}.yaml").is_file()


def refuse_namesake(spec: str, folder: str, load: Callable) -> None:
    """Refuse a file of the user's that bears the name of a bundled one and holds other words.

    Captions and records would say that the bundled words were asked.

    Parameters
    ----------
    spec, folder : as for `find`
    load : `load_class_set` or `load_templates`
    """
    path, variant = find(spec, folder)
    found = load(spec)
    known = known_files(folder).get(found.name, path)
    if known.resolve() == path.resolve():
        return
    try:
        same = load(f"{known}:{variant}" if variant else str(known)).hash == found.hash
    except ClassSetError:  # it has no such variant
        same = False
    if not same:
        raise ClassSetError(
            f"{path.name} has the name {found.name}, as a bundled {_CALLED[folder]} with other words has; give it a "
            "`name:` of its own, which captions repeat."
        )


#: lists and mappings within one another, at most: those of a class set's variants are five
DEPTH = 20


def _refuse_excess(text: str) -> None:
    """Refuse what a few bytes can make endless: aliases of aliases, and brackets in brackets."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ClassSetError(
                f"line {line} has *{event.anchor}, an alias; write its content out."
            )
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise ClassSetError(f"line {line} is nested more than {DEPTH} deep; write it flatter.")


@functools.lru_cache(maxsize=256)
def _parsed(text: str):
    """What a text of YAML says; not to be changed, as it is kept for the next who asks."""
    _refuse_excess(text)
    return yaml.load(text, Loader=_StrictLoader)


def parse(text: str):
    """Content of a YAML text: mappings, lists and, whatever they spell, texts.

    Raises
    ------
    ClassSetError  for aliases, a key that stands twice, and what is nested beyond `DEPTH`
    yaml.YAMLError  if it is not YAML
    """
    return copy.deepcopy(_parsed(text))


def read(path: Path, *keys: str) -> dict:
    """Content of a file that may have these keys, and name, version and source."""
    try:
        content = parse(path.read_text("utf-8"))
    except ClassSetError as error:
        raise ClassSetError(f"{path}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = one_line(error, most=1000)  # where it is stands at the end
        raise ClassSetError(f"{path} is not valid YAML ({reason}); fix the file.") from None
    except OSError as error:
        raise ClassSetError(f"{path} cannot be read ({error.strerror}); fix the path.") from None
    if not isinstance(content, dict):
        raise ClassSetError(
            f"{path} is empty or not a mapping of keys; write {keys[0]}: and below it what is listed."
        )
    refuse_unknown(content, ("name", "version", "source", *keys), path.name)
    return content


def refuse_unknown(content: dict, keys, origin: str) -> None:
    """A misspelt key would be passed over, and another class set run than the one that was meant."""
    for key in content:
        if key not in keys:
            raise ClassSetError(
                f'{origin} has "{key}", which is not read; the keys are {", ".join(keys)}.'
            )


def part(content: dict, key: str, kind: type, origin: str):
    """`content[key]` if it is of this kind; an empty one where it is absent or blank."""
    value = content.get(key) or kind()
    if not isinstance(value, kind):
        shape = {dict: "a mapping, `name: ...`", list: "a list", str: "text"}[kind]
        raise ClassSetError(f'{origin}: "{key}" must be {shape}, and is "{value}"; fix it.')
    return value
