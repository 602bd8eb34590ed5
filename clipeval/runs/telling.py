"""What the command line reads, and says while it checks, runs and compares."""

import sys
from dataclasses import asdict
from pathlib import Path

from clipeval.errors import ParameterError


def values_of(given: list[str] | None) -> dict[str, str]:
    """Parameters by name, of what was given as `-p name=value`."""
    values = {}
    for item in given or []:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise ParameterError(f"-p {item} is not name=value; write, for example, -p limit=100.")
        values[name.strip()] = value
    return values


#: commands that take parameters by -p
_TAKE = ("run", "check", "embed", "data")


def refuse_loose(arguments: list[str]) -> None:
    """ParameterError for `name=value` among the words of a command, which takes parameters by -p alone."""
    for before, word in zip(arguments, arguments[1:], strict=False):
        name, equals, _ = word.partition("=")
        plain = name.replace(".", "_").isidentifier() and not before.startswith("-")
        if arguments[0] in _TAKE and equals and plain and not Path(word).exists():
            raise ParameterError(f"{word} is a parameter and follows -p: write -p {word}.")


def usage(error) -> str:
    """What is wrong with a command's words; a parameter given as an option is told how it is given."""
    from clipeval.session.parameters import Parameters

    name = (getattr(error, "option_name", "") or "").lstrip("-").replace("-", "_")
    said = error.format_message()
    if name in Parameters.model_fields and "No such option" in said:
        return f"there is no option --{name}; parameters follow -p: write -p {name}=VALUE."
    return said


def tell_check(plan, *, quiet: bool) -> int:
    """Check a plan and print what would fail, and unless `quiet` what is well; returns how many would."""
    from clipeval.runs.check import check_plan

    problems: dict[tuple[str, str], list[str]] = {}
    for finding in check_plan(plan, power=not quiet):
        if finding.problem:
            problems.setdefault((finding.what, finding.problem), []).append(finding.study)
        elif not quiet:
            print(f"ok  {finding.study}, {finding.what}: {finding.detail}")
    for (what, problem), found in problems.items():  # what several studies share is said once
        print(f"clipeval: {', '.join(dict.fromkeys(found))}, {what}: {problem}", file=sys.stderr)
    return len(problems)


def check_as_json(plans) -> tuple[str, bool]:
    """What a check of plans (run folder -> plan) found, as JSON, and whether all is well."""
    import json

    from clipeval.runs.check import check_plan

    found = {str(folder): check_plan(plan) for folder, plan in plans.items()}
    well = not any(f.problem for findings in found.values() for f in findings)
    content = {"well": well, "runs": {k: [asdict(f) for f in v] for k, v in found.items()}}
    return json.dumps(content, indent=1, ensure_ascii=False), well


def tell_run(plan, folder: Path, given: dict, jobs: int, resume: bool | None, quiet: bool) -> int:
    """Run one plan and say how it ended; returns how many studies failed."""
    from clipeval.progress import Progress
    from clipeval.runs import changes
    from clipeval.runs.runner import run_studies

    with Progress(plan, quiet=quiet) as progress:
        outcomes = run_studies(
            plan,
            folder,
            arguments={"studies": list(plan)} | given,
            jobs=jobs,
            resume=resume,
            tell=progress.tell,
            progress=not quiet,
        )
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        kept = folder / outcome.study / "notebook.ipynb"
        print(
            f"clipeval: {outcome.study} failed: {outcome.error} (notebook kept: {kept})",
            file=sys.stderr,
        )
    if not quiet:
        for line in changes.said(folder):
            print(line)
        done = len(outcomes) - len(failed)
        print(f"{done} of {len(outcomes)} studies done. Open {folder / 'index.html'}")
    return len(failed)


def tell_comparison(runs, out: Path, quiet: bool) -> None:
    """Compare runs into `out` and say what was found."""
    from clipeval.runs.compare_report import compare

    found = compare(runs, out)
    for note in found.notes:
        print(f"clipeval: {note}", file=sys.stderr)
    if not quiet:
        print(
            f"{len(found.labels)} models compared. Open {out.expanduser().resolve() / 'index.html'}"
        )


def print_table(table, *, as_json: bool = False, names: bool = False) -> None:
    """As wide as the terminal, the first column whole; a file or a pipe gets wide lines; or as JSON, or names alone.

    A name is the first column, one a line; of models as `--models` takes them.
    """
    if as_json or names:
        text = table.to_json(orient="records", indent=1, force_ascii=False)
        print(text if as_json else "\n".join(_names(table)))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(table.columns):
        numeric = table[name].dtype.kind in "iuf"
        shown.add_column(
            str(name), justify="right" if numeric else "left", no_wrap=i == 0, overflow="fold"
        )
    for row in table.itertuples(index=False):
        shown.add_row(*("yes" if v is True else "" if v is False else str(v) for v in row))
    console = Console(markup=False, highlight=False)
    console.width = console.width if console.is_terminal else 160
    console.print(shown)


def _names(table) -> list[str]:
    names = table.iloc[:, 0].astype(str)
    if "pretrained" in table:
        tags = "@" + table["pretrained"].fillna("").astype(str)
        names += tags.where(tags != "@", "")
    return list(dict.fromkeys(names))


def of_embedded(session, found) -> str:
    """How many embeddings a session has, and where they are kept."""
    return (
        f"{len(found):,} embeddings of {len(session.images):,} images, {found.encoded:,} of them new, "
        f"{len(found.unreadable):,} unreadable; store {session.store.address or session.store.root}"
    )
