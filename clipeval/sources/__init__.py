"""What answers a session: images, what is known of the model, embeddings and prompts.

`open_source` picks by the parameters: live images and a model (`live.Live`), a pack (`packed.Packed`), the
answers of a run folder (`recorded.Recorded`), or answers made elsewhere (`scores.Scores`).
"""

from pathlib import Path

from clipeval.sources.base import Source

__all__ = ["Source", "open_source"]


def open_source(parameters, *, study: str, deck: str = "", progress: bool = True) -> Source:
    """The source that a study's parameters name.

    Parameters
    ----------
    parameters : clipeval.session.parameters.Parameters
    study : id of the study that asks
    deck : name of the test cards that the study reads, where `dataset` is testcards
    progress : show progress bars

    Raises
    ------
    DataError, ParameterError  if a pack is named and cannot be read or does not hold the study, or
        answers made elsewhere cannot be read
    ClassSetError  if these answers cannot be told apart by the class sets that are named
    """
    if parameters.pack and (Path(parameters.pack).expanduser() / "run.json").is_file():
        from clipeval.sources.recorded import Recorded

        return Recorded(parameters, study=study, deck=deck, progress=progress)
    if parameters.pack:
        from clipeval.sources.packed import Packed

        return Packed(parameters, study=study, progress=progress)
    if parameters.scores:
        from clipeval.sources.scores import Scores

        return Scores(parameters, study=study, deck=deck, progress=progress)
    from clipeval.sources.live import Live

    return Live(parameters, study=study, deck=deck, progress=progress)
