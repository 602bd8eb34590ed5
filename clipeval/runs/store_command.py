"""`clipeval store`: what is stored, whether it is whole, and what of it may go."""

from typing import Annotated

import typer

from clipeval.runs.data_command import AsJson, Names, Quiet
from clipeval.runs.telling import print_table

store_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Folder = Annotated[str, typer.Option("--store", help="Folder of the store; by default the user's.")]
Files = Annotated[bool, typer.Option("-q", "--quiet", help="Print paths of files alone.")]


@store_app.callback()
def _store(
    context: typer.Context, store: Folder = "", as_json: AsJson = False, quiet: Names = False
) -> None:
    """Say what is stored: models, kinds, rows, size, the day it was last written, folder."""
    if context.invoked_subcommand is None:
        print_table(_opened(store).summary(), as_json=as_json, names=quiet)


@store_app.command("check")
def store_check(store: Folder = "", as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Read all embeddings and hold them against their checksums; the exit code is 1 where one is damaged."""
    from clipeval.embedding.store_pruning import check

    found = check(_opened(store))
    wrong = found[found["damaged"] > 0]
    if as_json or not quiet or len(wrong):
        print_table(wrong if quiet else found, as_json=as_json)
    if len(wrong):
        raise typer.Exit(1)


@store_app.command("prune")
def store_prune(
    store: Folder = "",
    model: Annotated[str, typer.Option(help="Embeddings of MODEL or MODEL@PRETRAINED.")] = "",
    kind: Annotated[str, typer.Option(help="Embeddings of a kind, as `store` names it.")] = "",
    older_than: Annotated[
        float | None, typer.Option(help="Only what was written more than so many days ago.")
    ] = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="What was set aside as damaged.")
    ] = False,
    derived: Annotated[
        bool, typer.Option("--derived", help="Tables and figures, which are made again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it they are listed.")] = False,
    as_json: AsJson = False,
    quiet: Files = False,
) -> None:
    """List the store's own files that are asked for, and with --yes delete them; no other file is touched."""
    from clipeval.embedding.store_pruning import delete, prunable

    opened = _opened(store)
    asked = {"model": model, "kind": kind, "older_than": older_than}
    found = prunable(opened, **asked, damaged=damaged, derived=derived)
    if yes:
        delete(opened, found)
    if as_json:
        import json

        print(json.dumps({"deleted": yes, "files": found.to_dict("records")}, indent=1))
        return
    if quiet:
        print_table(found[["file"]], names=True)
        return
    by = ["what", "model", "pretrained", "kind"]
    counted = found.groupby(by, as_index=False).agg(
        files=("file", "size"), megabytes=("megabytes", "sum")
    )
    if len(found):
        print_table(counted.round(3))
    done = "deleted" if yes else "would be deleted; --yes deletes them"
    print(f"{len(found):,} files, {found['megabytes'].sum():,.1f} MB {done} ({opened.root})")


def _opened(store: str):
    from clipeval.embedding.store import Store

    return Store(store)
