"""Change of a rate between two answers to the same images, given as arrays."""

import numpy as np
import pandas as pd

from clipeval.stats import paired_changes


def paired_change(before, after) -> dict:
    """The one row of `paired_changes` for bool arrays (n,) in the same order."""
    frame = pd.DataFrame({"before": np.asarray(before), "after": np.asarray(after)})
    return paired_changes(frame, "before", "after").iloc[0].to_dict()
