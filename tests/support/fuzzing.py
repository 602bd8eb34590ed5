"""Generated input, and what it must end in: a right result, or one sentence of at most 500 characters."""

import contextlib
import copy
import os
import unicodedata

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from clipeval.errors import ClipevalError

TIMES = int(os.environ.get("CLIPEVAL_FUZZ", "0"))
REFUSED, RIGHT = [], []


def cases(few: int):
    """So many cases with the other tests, always the same ones; by `make fuzz` many times as many."""
    return settings(
        max_examples=few * max(1, TIMES),
        derandomize=not TIMES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def one_sentence():
    """What is raised within is an error for the user, on one line; anything else fails the test."""
    try:
        yield
        RIGHT.append(1)
    except ClipevalError as error:
        REFUSED.append(1)
        for said in (str(error), *error.problems):
            assert 10 < len(said) <= 500, said
            assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, said)), repr(said)


#: words as users have them, and as an attacker would
ODD = st.sampled_from(
    [
        "",
        " ",
        "NA",
        "nan",
        "None",
        "1",
        "-1",
        "1e999",
        "9-Mar",
        "20-29",
        "Male",
        "male",
        "=1+1",
        "@x",
    ]
    + [
        "..",
        "../x",
        "/etc/passwd",
        "a\nb",
        "a\x00b",
        "\ufeffa",
        "\u202ea",
        "é",
        "e\u0301",
        "名前",
        "🙂",
    ]
    + [
        "<script>",
        "{}",
        "{a}",
        "{0}",
        "%s",
        "$x$",
        "a" * 600,
        "word " * 90,
        "yes",
        "~",
        "null",
        "'\"",
    ]
)
WORD = st.one_of(ODD, st.text(max_size=12))
NAME = st.one_of(st.sampled_from(["cat", "dog", "nurse", "judge", "thief", "a man"]), WORD)
LEAF = st.one_of(WORD, st.integers(), st.floats(), st.booleans(), st.none())
TREE = st.recursive(
    LEAF, lambda kept: st.lists(kept, max_size=4) | st.dictionaries(WORD, kept, max_size=4)
)


@st.composite
def changed(draw, content):
    """JSON-like content in which one place, somewhere, is another value, or is gone."""
    found = copy.deepcopy(content)
    at = found
    for _ in range(draw(st.integers(0, 6))):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            continue
        if draw(st.booleans()):
            at[key] = draw(TREE)
        else:
            del at[key]
        break
    return found


@st.composite
def damaged(draw, content: bytes):
    """Bytes that are cut, flipped, doubled, or replaced somewhere."""
    data = bytearray(content)
    kind = draw(st.sampled_from(["cut", "flip", "insert", "zero", "other"]))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    if kind == "cut":
        del data[at:]
    elif kind == "flip":
        for _ in range(draw(st.integers(1, 4))):
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif kind == "insert":
        data[at:at] = draw(st.binary(min_size=1, max_size=30))
    elif kind == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    else:
        data = bytearray(draw(st.binary(max_size=200)))
    return bytes(data)
