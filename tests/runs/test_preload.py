"""What the process that studies are forked from has ready, without what costs seconds and serves nobody."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from clipeval.runs import preload


def test_all_that_is_named_can_be_imported():
    assert [name for name in preload.MODULES if find_spec(name) is None] == []


def test_the_caches_can_be_filled():
    """In a run a failure here is passed over, as it only costs time."""
    preload.use()


def test_no_grammar_of_international_addresses_is_built():
    """jsonschema must import without it, and whoever asks for it later must get it."""
    if find_spec("rfc3987_syntax") is None:
        pytest.skip("rfc3987_syntax is not installed, so nothing is to be left out")
    code = (
        "import sys\nimport clipeval.runs.preload\n"
        "assert 'jsonschema' in sys.modules\n"
        "print('lark' in sys.modules, 'rfc3987_syntax' in sys.modules)\n"
        "import rfc3987_syntax\nprint(rfc3987_syntax.is_valid_syntax('iri', 'https://example.org'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
