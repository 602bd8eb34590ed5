"""What modules of generated input say at their end."""

import pytest
from fuzzing import REFUSED, RIGHT


@pytest.fixture(scope="module", autouse=True)
def counted():
    """Says how many cases of a module ended in which way."""
    before = len(RIGHT), len(REFUSED)
    yield
    right, refused = (len(n) - b for n, b in zip((RIGHT, REFUSED), before, strict=True))
    if right + refused:
        print(f"\n{right:,} right results and {refused:,} refusals")
