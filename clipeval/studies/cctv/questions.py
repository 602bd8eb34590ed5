"""What each frame of a camera is asked: the captions on offer, and which of them is true."""

import pandas as pd

from clipeval.datasets.cctv import caption_key
from clipeval.errors import DataError

#: the scene of a caption that is nearly true
CLOSE = "close caption"


def _scenes(pool: pd.DataFrame, options: str) -> dict[str, dict[str, str]]:
    """Captions of each sequence: key -> caption as first written."""
    scenes = {}
    for sequence, frames in pool.groupby("sequence", observed=True, sort=False):
        written = frames["caption"].dropna()
        main = frames["main_caption"].dropna().unique().tolist()
        if options == "main" and len(main) == 0:
            main = written.mode().tolist()[:1]  # without sequences.csv: the most frequent
        captions = main if options == "main" else [*main, *written.unique()]
        scenes[str(sequence)] = {
            caption_key(caption): str(caption) for caption in reversed(captions)
        }
    return scenes


def questions(
    images: pd.DataFrame, pool: pd.DataFrame | None = None, *, options="all"
) -> pd.DataFrame:
    """What each frame is asked: the captions on offer, and which of them is true.

    coarse: the frame's own caption and the captions of the other sequences. stress: the same and
    the frame's close caption. fine: its present and its absent caption. A caption of another
    sequence is left out where it is also one of the frame's own sequence, as both might be true of
    the frame; of its own sequence nothing is on offer but its own caption (and, in stress, its
    close caption). Captions that differ only in case or spaces are one. A frame without a caption
    is not asked coarse and stress, one without `fine_truth` not fine.

    Parameters
    ----------
    images : images table with sequence, caption, close_caption, main_caption, present_caption,
        absent_caption, fine_truth
    pool : images table whose captions are on offer; by default `images`
    options : "all" (all captions of the frames of other sequences and their main captions) or
        "main" (of each other sequence its main caption, or else its most frequent)

    Returns
    -------
    DataFrame, one row a frame and task: image_id, sequence (str), task, truth, close ("" but in
    stress), offered (sorted tuple of str), scenes (tuple of str: the sequence of each caption on
    offer, "several" where other sequences share it, "close caption"; in fine, present or absent),
    question (int, the same for frames that are asked the same)

    Raises
    ------
    DataError  if a frame has nothing to choose from, or no frame has a caption
    """
    pool = images if pool is None else pool
    scenes, main = _scenes(pool, "all"), _scenes(pool, options)
    others = {own: _others(own, scenes, main) for own in scenes}
    numbers, different, ids, asked = {}, [], [], []

    def ask(image_id, *about) -> None:
        if about not in numbers:
            numbers[about] = len(numbers)
            different.append(_question(*about, others[about[1]]))
        ids.append(image_id)
        asked.append(numbers[about])

    for frame in images.itertuples():
        own = str(frame.sequence)
        if pd.notna(frame.caption):
            if not others[own].keys() - {caption_key(frame.caption)}:
                raise DataError(
                    f"{frame.image_id}: there is no caption of another sequence to choose from; "
                    "add frames of other scenes, with captions."
                )
            ask(frame.image_id, "coarse", own, frame.caption, "")
            ask(frame.image_id, "stress", own, frame.caption, frame.close_caption)
        if pd.notna(frame.fine_truth):
            pair = (frame.present_caption, frame.absent_caption)
            ask(frame.image_id, "fine", own, frame.fine_truth, pair)
    if not ids:
        raise DataError("no frame has a caption, so there is nothing to ask; write captions first.")
    table = pd.DataFrame(different).iloc[asked].reset_index(drop=True)
    table.insert(0, "image_id", ids)
    return table.assign(question=asked)


def _others(own: str, scenes: dict, main: dict) -> dict[str, tuple[str, str]]:
    """Captions of other sequences: key -> caption and its sequence ("several" if two share it)."""
    found: dict[str, tuple[str, str]] = {}
    for sequence, captions in main.items():
        if sequence != own:
            for key in captions.keys() - scenes[own].keys():
                first, _ = found.get(key, (captions[key], sequence))
                found[key] = (first, "several" if key in found else sequence)
    return found


def _question(task: str, own: str, said: str, also, others: dict[str, tuple[str, str]]) -> dict:
    """What is asked: of its own caption (`said`) and the close one (`also`), or of the truth and a pair of captions."""
    close = ""
    if task == "fine":
        offered = dict(zip(("present", "absent"), also, strict=True))
        truth, offered = offered[said], [(caption, kind) for kind, caption in offered.items()]
    else:
        truth, offered = said, others | {caption_key(said): (said, own)}
        if task == "stress":
            offered = {caption_key(also): (also, CLOSE)} | offered
            close = offered[caption_key(also)][0]
        offered = offered.values()
    # sorted, so that no place in the list tells the truth
    captions, owners = zip(*sorted((str(c), s) for c, s in offered), strict=True)
    about = {"sequence": own, "task": task, "truth": str(truth), "close": str(close)}
    return {**about, "offered": captions, "scenes": owners}
