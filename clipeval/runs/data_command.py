"""`clipeval data`: data sets, where they come from, and whether what is here is whole."""

from typing import Annotated

import typer

from clipeval.runs import telling

data_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="Data set.")]
Given = Annotated[
    list[str] | None, typer.Option("-p", "--parameter", help="name=value of the data set.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Names = Annotated[bool, typer.Option("-q", "--quiet", help="Print names alone.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say only what is wrong.")]


@data_app.callback()
def _data(context: typer.Context, as_json: AsJson = False, quiet: Names = False) -> None:
    """Say of every data set where it comes from, on what terms, and whether it is here."""
    if context.invoked_subcommand is None:
        from clipeval.datasets.sources import SOURCES, describe

        print("\n".join(SOURCES) if quiet else describe(as_json=as_json))


@data_app.command("get")
def data_get(
    name: Name,
    to: Annotated[str, typer.Option(help="Folder; by default one in the cache.")] = "",
    parameter: Given = None,
    quiet: Quiet = False,
) -> None:
    """Download a data set where its terms allow it, or say exactly what to fetch."""
    from clipeval.datasets.sources import get

    said = get(name, to, **telling.values_of(parameter))
    if not quiet:
        print(said)


@data_app.command("check")
def data_check(
    name: Name,
    folder: Annotated[
        str, typer.Argument(help="Its folder, file or hub id; none for where `get` puts it.")
    ] = "",
    parameter: Given = None,
    quiet: Quiet = False,
) -> None:
    """Verify what is there: labels, columns, counts, and a sample of the images."""
    from clipeval.datasets.sources import check

    said = check(name, folder, **telling.values_of(parameter))
    if not quiet:
        print(said)
