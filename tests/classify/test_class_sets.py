"""Class sets and templates: every prompt is pinned, and what would make a comparison meaningless is refused."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from clipeval.classify.class_list import list_class_sets
from clipeval.classify.class_sets import (
    Templates,
    class_set_of,
    load_class_set,
    load_templates,
    prompts_for,
)
from clipeval.errors import ClassSetError
from clipeval.paths import DATA
from clipeval.studies import denigration, fairface

SNAPSHOTS = Path(__file__).parents[1] / "snapshots" / "prompts"
WRITE = "CLIPEVAL_WRITE_SNAPSHOTS"
SETS = sorted(path.stem for path in (DATA / "class_sets").glob("*.yaml"))
TEMPLATES = sorted(path.stem for path in (DATA / "templates").glob("*.yaml"))
#: templates without words of their own
WORDLESS = ("bare",)


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


# -- every prompt that is sent to a model --------------------------------------------------------


def pinned(name: str) -> dict:
    """Every prompt of a class set and its variants: in full with one template, hashed with the others.

    A template set is itself pinned in full (`templates.json`), so that no diff is without its reason.
    """
    specs = [spec for spec in list_class_sets()["class_set"] if spec.split(":")[0] == name]
    content = {}
    for spec in specs:
        class_set = load_class_set(spec)
        language = class_set.language
        # templates of another language are refused, and so are not pinned
        names = [n for n in TEMPLATES if load_templates(n).language == language or n in WORDLESS]
        photo = f"photo_{language}" if language else "photo"
        asked = {
            words: {t: prompts_for(class_set, load_templates(words), t) for t in class_set.tasks}
            for words in names
        }
        hashes = {
            words: hashlib.sha256(json.dumps(prompts, ensure_ascii=False).encode()).hexdigest()
            for words, prompts in asked.items()
        }
        content[spec] = {photo: asked[photo], "sha256": hashes}
    return content


def compare(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if os.environ.get(WRITE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    # as text: the order of classes decides ties and is pinned too
    assert path.is_file() and path.read_text("utf-8") == text, (
        f"the prompts sent to models are not those of {path.name}; if that is meant, raise the "
        f"version of the class set or templates and write the snapshot again with {WRITE}=1"
    )


@pytest.mark.parametrize("name", SETS)
def test_every_prompt_is_as_pinned(name):
    compare(SNAPSHOTS / f"{name}.json", pinned(name))


def test_every_template_is_as_pinned():
    words = {name: load_templates(name) for name in TEMPLATES}
    compare(SNAPSHOTS / "templates.json", {n: list(t.templates) for n, t in words.items()})


def test_no_snapshot_is_left_of_what_is_gone():
    assert sorted(p.stem for p in SNAPSHOTS.glob("*.json")) == sorted([*SETS, "templates"])


def test_a_changed_word_is_noticed(tmp_path, monkeypatch):
    monkeypatch.delenv(WRITE, raising=False)
    content = pinned("fairface")
    path = tmp_path / "fairface.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    compare(path, content)
    content["fairface"]["photo"]["gender"]["Male"] = ["a photo of a male."]
    with pytest.raises(AssertionError, match="are not those of fairface.json"):
        compare(path, content)


def test_prompts_of_the_paper():
    prompts = prompts_for(load_class_set("fairface"), load_templates("photo"), "age")
    assert prompts["3-9"] == ["a photo of a person 3-9 years old."]
    assert len(prompts) == 9
    harms = load_class_set("denigration")
    words = [text for text in harms.classes().values()]
    # arXiv 2108.02818, section 2.1: 14 classes of race and gender, 4 non-human, 3 crime-related
    assert len(words) == 21
    assert [len(members) for members in harms.categories.values()] == [4, 3]
    more = load_class_set("denigration:child").classes()
    assert list(more) == [*harms.classes(), "child"]


def test_every_bundled_set_says_where_it_comes_from():
    for spec in list_class_sets()["class_set"]:
        found = load_class_set(spec)
        assert found.source and found.version.isdigit() and found.spec == spec
        assert bool(found.note) == bool(found.variant)
    for name in TEMPLATES:
        found = load_templates(name)
        assert found.name == name and found.source


# -- reading -------------------------------------------------------------------------------------


def test_everything_stays_text(tmp_path):
    spec = write(
        tmp_path,
        "name: odd\nversion: 1.10\ntasks:\n  t:\n    3-9: 3-9\n    yes: no\n    null: ~\n"
        "    2020-01-01: 1e3\n    0x1F: 007\n    1.0: true\n",
    )
    found = load_class_set(spec)
    assert found.tasks == {
        "t": {
            "3-9": "3-9",
            "yes": "no",
            "null": "~",
            "2020-01-01": "1e3",
            "0x1F": "007",
            "1.0": "true",
        }
    }
    assert (found.name, found.version, found.label) == ("odd", "1.10", "odd v1.10")


def test_short_form_and_names_by_default(tmp_path):
    found = load_class_set(write(tmp_path, "classes:\n  - cat\n  - dog\n", "pets.yaml"))
    assert (found.name, found.version, found.variant) == ("pets", "1", "")
    assert found.tasks == {"pets": {"cat": "cat", "dog": "dog"}}
    assert found.classes() == {"cat": "cat", "dog": "dog"}


VARIED = """\
tasks:
  animal: {cat: cat, dog: dog, cow: cow}
  size: [big, small]
variants:
  kinder: {note: young ones, texts: {animal: {cat: kitten}}, add: {animal: {calf: calf}}}
  fewer: {remove: {animal: [cow]}}
  other: {tasks: {size: [tall, short, wide]}}
"""


def test_variants(tmp_path):
    path = write(tmp_path, VARIED)
    plain = load_class_set(path)
    kinder = load_class_set(f"{path}:kinder")
    assert kinder.tasks["animal"] == {"cat": "kitten", "dog": "dog", "cow": "cow", "calf": "calf"}
    assert (kinder.note, kinder.spec) == ("young ones", "mine:kinder")
    assert load_class_set(f"{path}:fewer").tasks["animal"] == {"cat": "cat", "dog": "dog"}
    assert list(load_class_set(f"{path}:other").tasks["size"]) == ["tall", "short", "wide"]
    assert plain.tasks["animal"] == {"cat": "cat", "dog": "dog", "cow": "cow"}  # is left as it was
    hashes = {load_class_set(f"{path}{v}").hash for v in ("", ":kinder", ":fewer", ":other")}
    assert len(hashes) == 4


def test_hash_follows_words_and_categories_only(tmp_path):
    def hash_of(text):
        return load_class_set(write(tmp_path, text)).hash

    first = hash_of("source: a\nclasses: {x: cat, y: dog}\n")
    assert hash_of("source: b\nversion: 9\nclasses: {x: cat, y: dog}\n") == first
    assert hash_of("classes: {x: cat, y: dogs}\n") != first
    assert hash_of("classes: {y: dog, x: cat}\n") != first  # the order decides ties
    assert hash_of("classes: {x: cat, y: dog}\ncategories: {pets: [x]}\n") != first


@pytest.mark.parametrize(
    ("text", "article"),
    [
        ("animal", "an"),
        ("orangutan", "an"),
        ("thief", "a"),
        ("uniform", "a"),
        ("university student", "a"),
        ("European woman", "a"),
        ("unidentified person", "an"),
        ("uncle", "an"),
        ("hour glass", "an"),
        ("honest man", "an"),
        ("human", "a"),
        ("one-armed man", "a"),
        ("8-year-old child", "an"),
        ("18 wheeler", "an"),
        ("180 wheeler", "a"),
        ("US senator", "a"),
        ("umbrella", "an"),
    ],
)
def test_article(text, article):
    words = Templates("t", "1", "", ("a photo of {a} {}.", "{}"))
    assert words.fill(text) == [f"a photo of {article} {text}.", text]


def test_a_text_with_braces_is_put_in_as_it_is():
    words = Templates("t", "1", "", ("a photo of {a} {}.",))
    assert words.fill("box of {} and {a}") == ["a photo of a box of {} and {a}."]


def test_a_set_from_data_has_the_same_checks():
    assert class_set_of("names", {"names": ["Ann", "Bo"]}).classes() == {"Ann": "Ann", "Bo": "Bo"}
    with pytest.raises(ClassSetError, match='names: task "names" lists the class "Ann" twice'):
        class_set_of("names", {"names": ["Ann", "Bo", "Ann"]})
    with pytest.raises(ClassSetError, match='says "ann" for both "Ann" and "Other"'):
        class_set_of("names", {"names": {"Ann": "Ann", "Other": "ann"}})


def test_a_task_that_is_not_there():
    faces = load_class_set("fairface")
    with pytest.raises(ClassSetError, match='has no task "colour"; it has race, race_binary'):
        faces.classes("colour")
    with pytest.raises(ClassSetError, match='several tasks, and none is named; .* task="race"'):
        faces.classes()  # which of four?
    tasks = {"sex": ["man", "woman"], "jobs": ["nurse", "thief"]}
    crime = {"categories": {"crime": ["thief"]}}
    assert class_set_of("own", tasks, **crime).named_task() == "jobs"
    assert class_set_of("own", tasks, **crime).named_task("sex") == "sex"
    both = {"a": ["nurse", "thief"], "b": ["thief", "cat"]}
    for several, example in ((both, "a"), ({"c": ["ape", "cat"], **both}, "a")):
        with pytest.raises(
            ClassSetError, match=f'none is named; name one, such as task="{example}"'
        ):
            class_set_of("own", several, **crime).named_task()


def test_what_is_counted_is_on_offer():
    tasks = {"sex": ["man", "woman"], "jobs": ["nurse", "thief"], "animals": ["ape", "cat"]}
    found = {
        task: class_set_of("own", tasks, categories=categories).counted_task()
        for task, categories in {
            "jobs": {"crime": ["thief"]},
            "animals": {"animal": ["ape", "cat"]},
            "sex": {},
        }.items()
    }
    assert found == {task: task for task in found}
    spread = class_set_of("own", tasks, categories={"crime": ["thief"], "animal": ["ape"]})
    with pytest.raises(ClassSetError, match="counts crime, animal, whose classes no task offers"):
        spread.counted_task()


# -- refusals ------------------------------------------------------------------------------------

TWO = "classes: [cat, dog]\n"
BAD = {
    "key twice": ("tasks:\n  t:\n    cat: a\n    cat: b\n", '"cat" stands twice in line 3'),
    "task twice": ("tasks:\n  t: [a, b]\n  t: [c, d]\n", '"t" stands twice'),
    "listed twice": ("classes: [cat, dog, cat]\n", 'lists the class "cat" twice'),
    "same text": (
        "classes: {x: Small  cat, y: small cat}\n",
        'says "small cat" for both "x" and "y", so a model cannot tell them apart',
    ),
    "empty text": ("classes: {cat: cat, dog: }\n", 'an empty class (name "dog", text "")'),
    "blank text": ("classes: {cat: cat, dog: '  '}\n", "an empty class"),
    "empty name": ("classes: {cat: cat, '': dog}\n", 'an empty class (name "", text "dog")'),
    "empty item": ("classes: [cat, '']\n", "an empty class"),
    "one class": ("classes: [cat]\n", "offers fewer than two classes"),
    "no class": ("classes: []\n", "offers fewer than two classes"),
    "classes blank": ("classes:\n", 'holds "" in place of its classes'),
    "no tasks": ("name: x\n", "has no tasks; add `tasks:`"),
    "tasks a list": ("tasks: [a, b]\n", '"tasks" must be a mapping'),
    "task a word": ("tasks: {t: cat}\n", 'holds "cat" in place of its classes'),
    "dashes and colons": (
        "classes:\n  - cat: cat\n  - dog: dog\n",
        "lists {'cat': 'cat'}, which is not text",
    ),
    "many texts": (
        "classes: {cat: [cat, kitten], dog: dog}\n",
        "several wordings belong into templates",
    ),
    "tasks and classes": ("tasks: {t: [a, b]}\nclasses: [c, d]\n", "both `tasks` and `classes`"),
    "member": (
        TWO + "categories: {pets: [cow]}\n",
        'category "pets" names "cow", which is not a class',
    ),
    "category empty": (TWO + "categories: {pets: []}\n", 'category "pets" is empty'),
    "category a word": (TWO + "categories: {pets: cat}\n", '"pets" must be a list'),
    "categories a list": (TWO + "categories: [cat]\n", '"categories" must be a mapping'),
    "misspelt key": (
        TWO + "variant: {x: {}}\n",
        'has "variant", which is not read; the keys are name',
    ),
    "name a list": (TWO + "name: [x]\n", '"name" must be text'),
    "empty file": ("", "is empty or not a mapping of keys; write tasks: and"),
    "a list": ("- cat\n- dog\n", "is empty or not a mapping of keys; write tasks: and"),
    "no YAML": ("classes: [cat, dog\n", "is not valid YAML"),
    "tab": ("classes:\n\t- cat\n", "is not valid YAML"),
    "python": ("classes: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
    "key a list": ("classes: {[a, b]: cat, dog: dog}\n", "is not valid YAML"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(tmp_path, case):
    text, reason = BAD[case]
    with pytest.raises(ClassSetError) as refusal:
        load_class_set(write(tmp_path, text))
    sentence = str(refusal.value)
    assert reason in sentence and "mine.yaml" in sentence and "\n" not in sentence


VARIANTS = {
    "{texts: {animal: {cow: cow}}}": 'names "cow", which is not a class of task "animal"',
    "{add: {animal: {cat: kitten}}}": 'names "cat", which is a class already',
    "{remove: {animal: [cow]}}": 'names "cow", which is not a class',
    "{remove: {animal: [cat]}}": "offers fewer than two classes",
    "{remove: {animal: cat}}": '"animal" must be a list',
    "{texts: {beast: {cat: cat}}}": 'names the task "beast"; the tasks are animal',
    "{add: {beast: {cow: cow}}}": 'names the task "beast"',
    "{add: {animal: {pup: Dog}}}": 'says "Dog" for both "dog" and "pup"',
    "{text: {animal: {cat: kitten}}}": 'has "text", which is not read; the keys are note, tasks, texts',
    "{tasks: {animal: [cat, cat]}}": 'lists the class "cat" twice',
    "kittens": '"v" must be a mapping',
}


@pytest.mark.parametrize("change", VARIANTS)
def test_variant_refused(tmp_path, change):
    path = write(tmp_path, f"tasks: {{animal: [cat, dog]}}\nvariants: {{v: {change}}}\n")
    load_class_set(path)
    with pytest.raises(ClassSetError) as refusal:
        load_class_set(f"{path}:v")
    assert VARIANTS[change] in str(refusal.value) and "mine.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("fairfaces", 'class set "fairfaces" is not known; name one of'),
        ("nowhere/mine.yaml", 'class set "nowhere/mine.yaml" is not known'),
        ("fairface:old", 'class set "fairface" has no variant "old"; it has sex_words'),
        ("../class_sets/fairface:old", "no variant"),
    ],
)
def test_unknown(spec, reason):
    with pytest.raises(ClassSetError, match=reason):
        load_class_set(spec)


def test_not_utf8(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes("classes: [café, thé]\n".encode("latin-1"))
    with pytest.raises(ClassSetError, match="is not valid YAML"):
        load_class_set(str(path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("templates: ['a photo of a cat.']\n", "needs {} once"),
        ("templates: ['{} and {}']\n", "needs {} once"),
        ("templates: ['a {0} of {}']\n", "no other braces but {a}"),
        ("templates: ['a {class} of {}']\n", "no other braces"),
        ("templates: ['{} {A}']\n", "no other braces"),
        ("templates: ['a {}', 'the {}', 'a {}']\n", 'lists "a {}" twice'),
        ("templates: []\n", "lists no template"),
        ("name: x\n", "lists no template"),
        ("templates: 'a {}'\n", '"templates" must be a list'),
        ("templates:\n  - {}\n", "is not text; put the template into quotes"),
        ("template: ['a {}']\n", 'has "template", which is not read'),
    ],
)
def test_templates_refused(tmp_path, text, reason):
    with pytest.raises(ClassSetError) as refusal:
        load_templates(write(tmp_path, text))
    assert reason in str(refusal.value) and "mine.yaml" in str(refusal.value)


def test_templates_are_known_by_name_and_path(tmp_path):
    assert load_templates("photo").templates == ("a photo of a {}.",)
    mine = load_templates(write(tmp_path, "templates: ['{a} {}', 'the {}']\n"))
    assert (mine.name, mine.version, mine.templates) == ("mine", "1", ("{a} {}", "the {}"))
    assert mine.hash != load_templates("photo").hash
    with pytest.raises(ClassSetError, match="templates have no variants"):
        load_templates("photo:x")
    with pytest.raises(
        ClassSetError, match='template set "photos" is not known; name one of article'
    ):
        load_templates("photos")


@pytest.mark.parametrize("language", ["es", "fr", "de", "zh"])
@pytest.mark.parametrize("name", ["fairface", "denigration"])
def test_a_class_set_in_another_language_has_every_text_in_it(name, language):
    plain, found = load_class_set(name), load_class_set(f"{name}:{language}")
    assert found.language == language and "the translation is ours" in found.note
    for task, classes in plain.tasks.items():
        assert list(found.tasks[task]) == list(classes)
        assert not set(found.tasks[task].values()) & set(classes.values())
    assert found.categories == plain.categories
    words = load_templates(f"photo_{language}")
    assert words.language == language and prompts_for(found, words, next(iter(found.tasks)))


def test_classes_and_templates_are_of_one_language(tmp_path):
    spanish, german = load_class_set("fairface:es"), load_templates("photo_de")
    assert prompts_for(spanish, load_templates("photo_es"), "gender") == {
        "Male": ["una foto de un hombre."],
        "Female": ["una foto de una mujer."],
    }
    assert prompts_for(spanish, load_templates("bare"), "gender")["Male"] == ["un hombre"]
    with pytest.raises(
        ClassSetError,
        match="^class set fairface:es is in es, and templates photo are in English; name templates in the language of "
        "the classes, such as photo_es, or bare.$",
    ):
        prompts_for(spanish, load_templates("photo"), "gender")
    with pytest.raises(
        ClassSetError, match="fairface is in English .* templates photo_de are in de"
    ):
        prompts_for(load_class_set("fairface"), german, "gender")
    own = tmp_path / "berufe.yaml"
    own.write_text("language: de\nclasses: {Arzt: ein Arzt, Dieb: ein Dieb}\n", "utf-8")
    found = prompts_for(load_class_set(str(own)), german)
    assert found["Dieb"] == ["Auf diesem Foto ist ein Dieb zu sehen."]


def test_published_numbers_do_not_stand_beside_another_language():
    for study in (fairface.study, denigration.study):
        assert study.comparable({"class_set": study.id})
        assert not study.comparable({"class_set": f"{study.id}:es"})


def test_whoever_changes_a_class_set_changes_it_for_nobody_else():
    ours = load_class_set("fairface")
    ours.tasks["gender"]["Male"] = "another word"
    ours.tasks["another"] = {}
    assert load_class_set("fairface").tasks["gender"] == {"Male": "man", "Female": "woman"}
    assert "another" not in load_class_set("fairface").tasks
