"""What `clipeval check` says of a whole plan: all that would fail, and what could be seen."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from clipeval.errors import ClipevalError
from clipeval.output.numbers import number
from clipeval.output.sentences import tied
from clipeval.runs.places import own
from clipeval.session.look_ahead import look
from clipeval.session.parameters import Parameters
from clipeval.session.run_folder import refuse_foreign, refuse_mixing
from clipeval.sources import ahead
from clipeval.stats import smallest_difference
from clipeval.studies import get_study

BASE_RATE = 0.05  # at which the check says how small a difference can be seen
MOST_GROUPS = 20  # of one grouping, such as ages; more are names rather than groups


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `problem` is empty where it is well."""

    study: str
    what: str
    detail: str = ""
    problem: str = ""


def check_plan(plan: dict[str, Parameters], *, power: bool = True) -> list[Finding]:
    """Look at data, classes, model and run folder of every study; nothing is downloaded or embedded.

    Parameters
    ----------
    plan : dict of study id to Parameters, as from `profiles.plan_run`
    power : say how small a difference the sizes of the groups can show, once for the same groups

    Returns
    -------
    list of Finding, in the order of the studies
    """
    findings, folders, told = [], set(), set()
    ahead.forget()
    for study, parameters in plan.items():
        session = get_study(study).open(parameters, progress=False)
        well = set()
        for found in look(session):
            problems = found.error.problems if found.error else [""]
            findings += [Finding(study, found.what, found.detail, text) for text in problems]
            well |= set() if found.error else {found.what}
        if "run folder" in well and (out := parameters.out_folder) not in folders:
            folders.add(out)  # once is enough: it is read to the end
            try:
                refuse_foreign(out)
                refuse_mixing(out, own(plan))
            except ClipevalError as error:
                findings.append(Finding(study, "run folder", problem=str(error)))
        if power and "data set" in well and (said := _power(session, told)):
            findings.append(Finding(study, "power", said))
    return findings


def _power(session, told: set[str]) -> str | None:
    """The smallest differences that these group sizes are likely to show, before anything is computed.

    Parameters
    ----------
    told : what was said of other studies, which is not said again; this is added
    """
    images, said = session.images, []
    columns = {name: images[name] for name in images.attrs.get("groups", [])}
    with suppress(ClipevalError):  # groups that are refused are a finding of their own
        for grouping in session.groupings:
            columns.setdefault(grouping.name, grouping.add_to(images)[grouping.name])
    for name, values in columns.items():
        sizes = values.value_counts()
        sizes = sizes[sizes > 0]
        if not 2 <= len(sizes) <= MOST_GROUPS:
            continue
        points = smallest_difference(sizes, BASE_RATE)
        at = int(np.nan_to_num(points, nan=np.inf).argmax())
        least = (
            f"{number(points[at])} points" if points[at] == points[at] else "none that is possible"
        )
        said.append(f"{name} {least} ({tied(at, points, sizes.index)}, n = {sizes.iloc[at]:,})")
    said = [text for text in said if text not in told]
    told.update(said)
    if not said:
        return None
    return (
        "smallest difference between one group and the others that is found with 80 % power "
        f"(test at 5 %, other groups at {100 * BASE_RATE:g} %), for the group that shows the least: "
        + ", ".join(said)
    )
