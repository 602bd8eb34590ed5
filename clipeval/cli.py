"""The command line, a thin layer: everything heavy is imported when it is needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from clipeval import __version__, listing
from clipeval.errors import ClipevalError, ParameterError, listen, sentence
from clipeval.runs import telling
from clipeval.runs.data_command import AsJson, Names, Quiet, data_app
from clipeval.runs.signals import Terminated, sigterm_raises
from clipeval.runs.store_command import store_app

app = typer.Typer(
    help="Characterize CLIP-like models: the studies of arXiv 2108.02818, with uncertainty.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Studies = Annotated[
    list[str] | None,
    typer.Argument(
        help="Studies, by id, or a folder that holds one of your own; none for all.",
        autocompletion=listing.begins("studies"),
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        help="demo (offline), quick (a laptop), paper, another that `list profiles` names, or an audit "
        "file of your own, such as audit.yaml; by default none, and a run is your own.",
        autocompletion=listing.begins("profiles"),
    ),
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--parameter",
        help="name=value for every study that knows it; STUDY.name=value for one.",
    ),
]
Out = Annotated[
    str,
    typer.Option(
        help="Run folder; by default reports/PROFILE, or reports/MODEL-DATASET without a profile."
    ),
]


_STOPPED = "what was embedded or fetched is kept, and the same command goes on from there."


def main() -> None:
    """Run the command line; whatever the user can fix is one sentence.

    Exit codes: 0 done, 1 something failed on the way, 2 bad arguments or a failed check, 130 Ctrl-C,
    143 SIGTERM.
    """
    arguments = sys.argv[1:] or ["--help"]
    listen(lambda said: print(f"clipeval: {said}", file=sys.stderr))
    try:
        with sigterm_raises():
            telling.refuse_loose(arguments)
            # returns the code of a typer.Exit, and None otherwise
            code = app(arguments, prog_name="clipeval", standalone_mode=False) or 0
        said = f"\nstopped; {_STOPPED}" if code == 130 else ""  # of some releases of typer
    except Terminated:
        code, said = 143, f"\nterminated; {_STOPPED}"
    except KeyboardInterrupt:
        code, said = 130, f"\nstopped; {_STOPPED}"
    except typer.Abort as error:  # which typer makes of Ctrl-C, and of any EOFError
        ended = error.__cause__ if isinstance(error.__cause__, EOFError) else None
        code = 1 if ended else 130
        said = f"clipeval: {sentence(ended)}" if ended else f"\nstopped; {_STOPPED}"
    except ClipevalError as error:
        code, said = 2, f"clipeval: {error}"
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors, whatever library carries them
            code, said = 2, f"clipeval: {telling.usage(error)}"
        elif sentence(error):
            code, said = 1, f"clipeval: {sentence(error)}"
        else:
            raise
    if said:
        print(said, file=sys.stderr)
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"clipeval {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _plans(studies, profile, given, out, models=""):
    """The folder of the whole run, run folder -> plan, and where there is one for each model, which these are."""
    from clipeval.runs.places import default_folder, put_into
    from clipeval.runs.profiles import plan_run, read_profile

    chosen, values = read_profile(profile), telling.values_of(given)
    several = models or chosen.get("models", "")
    plan = plan_run(studies or [], chosen, values, out or "reports")
    folder = Path(out or default_folder(plan, profile, models=bool(several)))
    folder = folder.expanduser().resolve()
    if not several:
        return folder, {folder: put_into(plan, folder)}, ""
    from clipeval.runs.several_models import plan_models

    return folder, plan_models(several, studies or [], chosen, values, folder), several


@app.command()
def run(
    studies: Studies = None,
    profile: Profile = "",
    parameter: Given = None,
    out: Out = "",
    jobs: Annotated[int, typer.Option(help="Notebooks at once; 0 for one a core.")] = 0,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--fresh",
            help="Keep studies that are done with the same parameters, data, code and versions, or "
            "run all anew; by default they are kept after a run that was stopped or failed.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str,
        typer.Option(
            help="Models to run and compare, comma-separated: MODEL, MODEL@PRETRAINED or "
            "NAME=MODEL@PRETRAINED."
        ),
    ] = "",
    models_file: Annotated[
        str, typer.Option(help="The same from a file, one a line; # begins a remark.")
    ] = "",
    pack: Annotated[str, typer.Option(help="A pack, in place of images and model.")] = "",
    expect: Annotated[str, typer.Option(help="sha256 that the pack's manifest must have.")] = "",
    ray: Annotated[bool, typer.Option("--ray", help="Embed first as tasks of Ray.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run studies into a run folder: notebooks, tables, figures, predictions, one page to open."""
    from clipeval.runs.processes import process_context

    process_context(jobs)  # loads the libraries while the check looks at the data
    if expect and not pack:
        raise ParameterError("--expect is the sha256 of a pack's manifest; give --pack FILE too.")
    from clipeval.runs.places import with_card
    from clipeval.runs.several_models import named, read_models, told_models

    if models_file:
        if models:
            raise ParameterError("--models and --models-file exclude each other; give one of them.")
        models = read_models(models_file)
    if pack:
        from clipeval.packs.replay import plan_pack
        from clipeval.runs.places import default_folder, put_into
        from clipeval.sources.pack_file import open_pack

        values = telling.values_of(parameter)
        plan = plan_pack(pack, studies or [], values, out or "reports", expect, models)
        folder = Path(out or default_folder(plan, pack=True)).expanduser().resolve()
        plans = {folder: put_into(plan, folder)}
        if not expect:
            print(
                f"clipeval: the manifest of {Path(pack).name} is taken on trust; if its sha256 was "
                f"published, compare it, or give it as --expect: {open_pack(pack).sha256}",
                file=sys.stderr,
            )
    else:
        folder, plans, several = _plans(studies, profile, parameter, out, models)
        plans = {into: with_card(plan) for into, plan in plans.items()}
    if any([telling.tell_check(plan, quiet=True) for plan in plans.values()]):
        raise typer.Exit(2)
    if ray:
        from clipeval.runs.cluster import embed_by_ray

        embed_by_ray(list(plans.values()))
    from clipeval.output.provenance import pathless

    given = {"profile": pathless(profile), "parameters": telling.values_of(parameter)}
    given |= {
        k: v for k, v in {"models": told_models(models), "pack": Path(pack).name}.items() if v
    }
    names = named(several) if len(plans) > 1 else [""]
    failed = [
        telling.tell_run(plan, into, given | ({"name": name} if name else {}), jobs, resume, quiet)
        for name, (into, plan) in zip(names, plans.items(), strict=True)
    ]
    if len(plans) > 1:
        try:
            telling.tell_comparison(list(plans), folder / "compare", quiet)
        except ClipevalError as error:
            if not any(failed):
                raise
            print(f"clipeval: {error}", file=sys.stderr)
    if pack:
        from clipeval.packs.replay import compare_tables

        said, as_expected = compare_tables(pack, folder, changed=bool(parameter))
        if not (quiet and as_expected):
            print(said, file=sys.stdout if as_expected else sys.stderr)
        failed.append(not as_expected)
    if any(failed):
        raise typer.Exit(1)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Finished run folders, two or more.")],
    out: Annotated[str, typer.Option(help="Folder of the comparison.")] = "reports/compare",
    quiet: Quiet = False,
) -> None:
    """Compare finished runs of several models, with paired tests on the same images."""
    telling.tell_comparison(runs, Path(out), quiet)


@app.command()
def pack(
    run: Annotated[str, typer.Argument(help="Finished run folder.")],
    out: Annotated[str, typer.Option(help="File to write.")] = "",
    quiet: Quiet = False,
) -> None:
    """Write what a run was computed from, without images and model, into one verifiable file."""
    from clipeval.packs.writing import make_pack

    made = make_pack(run, out)
    for study, what in made.held.items() if not quiet else ():
        print(f"{study}: {what}")
    for study, reason in made.left_out.items():
        print(f"clipeval: {study} is left out: {reason}.", file=sys.stderr)
    if not quiet:
        print(f"{made.path}: {made.size / 1e6:,.1f} MB. Its manifest has sha256\n{made.sha256}")


@app.command()
def verify(
    path: Annotated[str, typer.Argument(help="Run folder, or a file that `clipeval pack` wrote.")],
    expect: Annotated[str, typer.Option(help="sha256 that it must have, as published.")] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Hold every number of a run against its answers: what differs is named, and the exit code is 1."""
    from clipeval import files
    from clipeval.packs import verifying

    found = verifying.verify(path, expect=expect)
    if as_json:
        print(files.as_json(found.to_json()), end="")
    elif not (quiet and found.well):
        print("\n".join(verifying.said(found)))
    if not found.well:
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Finished run folder; for croissant, a pack of it.")],
    format: Annotated[
        str,
        typer.Option(
            help="paper, model-card or croissant.", autocompletion=listing.begins("formats")
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder to write into.")],
    quiet: Quiet = False,
) -> None:
    """Write a run as the start of a paper, as a Hugging Face model card, or describe a pack."""
    from clipeval.export import export as export_into

    made = export_into(run, format, out)
    if not quiet:
        print(f"Open {made}")


@app.command()
def check(
    studies: Studies = None,
    profile: Profile = "",
    parameter: Given = None,
    out: Out = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what would fail, and how to fix it, before anything is embedded."""
    _, plans, _ = _plans(studies, profile, parameter, out)
    if as_json:
        text, well = telling.check_as_json(plans)
        print(text)
    else:
        well = not any([telling.tell_check(plan, quiet=quiet) for plan in plans.values()])
    if not well:
        raise typer.Exit(2)


@app.command()
def embed(
    studies: Studies = None,
    profile: Profile = "",
    parameter: Given = None,
    part: Annotated[
        str, typer.Option(help="I/N: of the images every N-th shard only, for N jobs at once.")
    ] = "",
    ray: Annotated[bool, typer.Option("--ray", help="Parts as tasks of a Ray cluster.")] = False,
    quiet: Quiet = False,
) -> None:
    """Embed the images and prompts of studies into the store, and no more."""
    from clipeval.studies import get_study

    _, plans, _ = _plans(studies, profile, parameter, "")
    if part or ray:
        from clipeval.runs import cluster

        if part and ray:
            raise ParameterError("--part and --ray exclude each other: Ray runs every part.")
        chosen = cluster.parse_part(part) if part else None
    if any([telling.tell_check(plan, quiet=True) for plan in plans.values()]):
        raise typer.Exit(2)
    if ray:
        for folder, done in zip(plans, cluster.embed_by_ray(list(plans.values())), strict=True):
            for study, encoded in done.items():
                name = f"{folder.name}, {study}" if len(plans) > 1 else study
                print(f"{name}: {encoded:,} images encoded by Ray")
        return
    for study, parameters in [item for plan in plans.values() for item in plan.items()]:
        if get_study(study).is_summary:
            continue
        if part:
            encoded = cluster.embed_parts(study, parameters, chosen)
            print(f"{study}: part {part}, {encoded:,} images encoded")
            continue
        session = get_study(study).open(parameters, progress=not quiet)
        session.predict()
        found = session.embed()
        if not quiet:
            print(f"{study}: {telling.of_embedded(session, found)}")


app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="models, studies, parameters, datasets, class-sets, profiles or store.",
            autocompletion=listing.begins("lists"),
        ),
    ],
    of: Annotated[
        str,
        typer.Argument(
            help="The study whose parameters are listed; none for those of every study.",
            autocompletion=listing.begins("studies"),
        ),
    ] = "",
    as_json: AsJson = False,
    quiet: Names = False,
) -> None:
    """List what there is."""
    listing.print_list(what, of, as_json=as_json, quiet=quiet)


if __name__ == "__main__":
    main()
