"""Where each data set comes from: what may be downloaded, what must be fetched by hand, what is here."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from clipeval.datasets import dataset_options, load_dataset
from clipeval.datasets.celeba import HUB_ID as CELEBA
from clipeval.datasets.fairface import HUB_ID as FAIRFACE
from clipeval.errors import DataError, ParameterError
from clipeval.paths import cache_dir

SAMPLE = 20  # images that `check` opens
_CLIPS = "https://raw.githubusercontent.com/intel-iot-devkit/sample-videos"


@dataclass(frozen=True)
class Source:
    """A data set's origin.

    Attributes
    ----------
    source, licence, size : for a table
    terms : what may be done with it, one sentence
    layout : what lies where in its folder
    by_hand : what to do where it cannot be downloaded from here; "" where it can
    urls : file name -> address, pinned to a version; MP4 videos
    hub : hub id
    options : name -> kind of what `get` takes beside a folder
    """

    source: str
    licence: str
    terms: str
    size: str
    layout: str
    by_hand: str = ""
    urls: dict[str, str] | None = None
    hub: str = ""
    options: dict[str, Callable] = field(default_factory=dict)


SOURCES = {
    "fairface": Source(
        f"hub {FAIRFACE}; github.com/joojs/fairface",
        "CC BY 4.0",
        "May be shared and adapted with attribution.",
        "0.25: 563 MB; 1.25: 2.1 GB",
        "0.25/validation-*.parquet, 0.25/train-*.parquet; or the official CSVs beside val/ and "
        "train/",
        hub=FAIRFACE,
        options={"padding": str, "split": str},
    ),
    "utkface": Source(
        "susanqq.github.io/UTKFace",
        "non-commercial research only",
        "The images belong to their owners; neither they nor their labels may be passed on.",
        "23,708 images, 107 MB",
        "images named AGE_GENDER_RACE_DATETIME.jpg.chip.jpg, as UTKFace.tar.gz unpacks",
        "From its page fetch the aligned and cropped faces (UTKFace.tar.gz) and unpack them",
    ),
    "cfd": Source(
        "chicagofaces.org",
        "non-commercial research only, on its makers' terms",
        "Neither images nor norming data may be passed on.",
        "597 people, and those of CFD-MR and CFD-INDIA",
        "Images/, CFD 3.0 Norming Data and Codebook.xlsx",
        "Accept its terms of use on its page, fetch the database (version 3.0) and unpack it as it is",
    ),
    "congress": Source(
        "replication material of Schwemmer et al. 2020, doi 10.1177/2378023120967171",
        "photographs in the public domain",
        "The photographs may be shared; cite the article for the labels.",
        "540 photographs",
        "members.tsv, images/, label_categories.tsv (optional)",
        "From the article's replication material take mc_data.tsv (save it as members.tsv), the "
        "photographs of mc_images (so that each lies where its column wiki_img_url says, seen from "
        "members.tsv), and imagelabels_cat_data.tsv (save it as label_categories.tsv)",
    ),
    "cctv": Source(
        "your own; the published ones are from VIRAT (Oh et al. 2011) and Varadarajan & Odobez (2009)",
        "as the frames",
        "VIRAT and Varadarajan & Odobez may not be passed on, and their captions are unpublished.",
        "",
        "frames.csv (file, caption, close_caption, ...), sequences.csv, SEQUENCE/001.jpg",
        "Bring frames of fixed cameras (clipeval.datasets.video.cut_video cuts a video; `clipeval "
        "data get cctv-clips` fetches two) and write frames.csv as docs/cctv_captions.md says",
    ),
    "cctv-clips": Source(
        "github.com/intel-iot-devkit/sample-videos",
        "CC BY 4.0",
        "May be shared and adapted with attribution; cut them into frames and write captions.",
        "two clips",
        "car-detection.mp4, one-by-one-person-detection.mp4",
        urls={
            "car-detection.mp4": f"{_CLIPS}/e9ab59cac368a61f7741a2373d7e79607c2f5e44/"
            "car-detection.mp4",
            "one-by-one-person-detection.mp4": f"{_CLIPS}/294517a8d149759972f9a0501accde274e469ba5/"
            "one-by-one-person-detection.mp4",
        },
        options={"timeout": float, "tries": int},
    ),
    "celebrities": Source(
        f"CelebA: mmlab.ie.cuhk.edu.hk/projects/CelebA.html, hub {CELEBA}; or your own photographs",
        "CelebA: non-commercial research only",
        "No part of CelebA may be copied on, published or distributed; its names are not public.",
        "CelebA: 202,599 images",
        "img_align_celeba/, identity_CelebA.txt, list_attr_celeba.txt, list_eval_partition.txt and "
        "your list of names; or a folder a person; or a CSV with name and file",
        "Accept CelebA's agreement on its page, fetch img_align_celeba.zip (unpack it), "
        "identity_CelebA.txt, list_attr_celeba.txt and list_eval_partition.txt, and give your own "
        "list of names with names=FILE",
    ),
}


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ParameterError(
            f'"{name}" has no source to get it from; there are {", ".join(SOURCES)} (testcards are '
            "drawn by the package, manifest is a file of yours)."
        )
    return SOURCES[name]


def place(name: str) -> Path:
    """Folder in the cache where a data set is put unless another is named."""
    return cache_dir() / "data" / name


def describe(*, as_json: bool = False) -> str:
    """Every data set: source, licence, terms, size, layout, how to get it, whether it is here.

    Parameters
    ----------
    as_json : as a JSON list of objects, in place of a text to read
    """
    parts, plain = [], []
    for name, source in SOURCES.items():
        how = source.by_hand or f"`clipeval data get {name}`"
        lines = {
            "from": source.source,
            "licence": f"{source.licence}. {source.terms}",
            "size": source.size,
            "layout": source.layout,
            "get": how,
            "here": _here(name, source),
        }
        parts.append("\n".join([name, *(f"  {k:<8} {v}" for k, v in lines.items() if v)]))
        plain.append({"name": name} | lines)
    if as_json:
        return json.dumps(plain, indent=1, ensure_ascii=False)
    return "\n\n".join(parts)


def _here(name: str, source: Source) -> str:
    """Where it is on this disk, as far as a look without the network tells."""
    from clipeval.datasets import hub

    found, folder = [], place(name)
    if folder.is_dir() and any(folder.iterdir()):
        found.append(str(folder))
    if source.hub and hub.cached(source.hub, "*/*.parquet"):
        found.append(f"the hub's cache (data={source.hub})")
    return " and ".join(found) or "not in the cache"


def get(name: str, to: str | Path = "", **options) -> str:
    """Download a data set where its terms allow it; says how to use it.

    Parameters
    ----------
    name : one of SOURCES
    to : folder; by default `place(name)`, or the hub's cache for a data set of the hub
    options : for fairface `padding` ("0.25" or "1.25", its release) and `split` ("val", "train", or
        "" for both); for cctv-clips `timeout` (seconds without an answer) and `tries`

    Raises
    ------
    DataError  if its terms do not allow it or no address is known, with what to fetch and where to
        put it; or if the download fails
    ParameterError  if an option is unknown or has a value that it cannot have
    """
    from clipeval.datasets import hub

    source = _source(name)
    how = {key: _option(name, key, value) for key, value in options.items()}
    folder = Path(to).expanduser().absolute() if to else place(name)
    if source.by_hand:
        raise DataError(
            f"{name} cannot be downloaded from here, because of its terms: {source.by_hand}, put it "
            f"into {folder} and run `clipeval data check {name} FOLDER`."
        )
    if source.hub:
        padding, split = how.pop("padding", "0.25"), how.pop("split", "")
        if padding not in ("0.25", "1.25") or split not in ("", "val", "train"):
            raise ParameterError("FairFace has padding 0.25 and 1.25, and split val and train.")
        part = {"": "*", "val": "validation-*", "train": "train-*"}[split]
        hub.fetch(source.hub, [f"{padding}/{part}.parquet"], folder if to else "", verify=True)
        data = folder if to else source.hub
        return f"{name} is here; run with -p dataset={name} -p data={data} -p padding={padding}"
    for file, url in source.urls.items():
        was_there = (folder / file).is_file()
        _download(url, folder / file, **how)
        try:
            _check_video(folder / file)
        except DataError:
            if not was_there:  # a page to log in to, say
                (folder / file).unlink()
            raise
    return f"{name} is in {folder}: {source.layout}. {source.licence}. {source.terms}"


def _option(name: str, key: str, value):
    """An option of `get`, of its own kind; the command line gives text."""
    known = SOURCES[name].options
    if key not in known:
        raise ParameterError(
            f'`data get {name}` has no option "{key}"; it has {", ".join(known) or "none"}.'
        )
    try:
        converted = known[key](value)
        if known[key] is str or converted > 0:
            return converted
    except (TypeError, ValueError):
        pass
    raise ParameterError(f"{key}={value} is not a number above 0; write, for example, {key}=30.")


def _download(url: str, target: Path, *, timeout: float = 20.0, tries: int = 4) -> None:
    """Fetch a file unless it is there; it appears under its name only when it is whole."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    name = target.name
    keeper = pooch.create(
        target.parent, "", registry={name: None}, urls={name: url}, retry_if_failed=tries - 1
    )
    http = pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 16, timeout=timeout)
    try:
        keeper.fetch(name, downloader=http)
        return
    except requests.HTTPError as error:
        status = error.response.status_code
        reason = f"was answered with {status}; look for the file on the data set's own page"
    except requests.RequestException as error:
        cause: BaseException = error
        while inner := cause.__cause__ or cause.__context__:
            cause = inner
        reason = f"cannot be fetched ({cause}); check the network, then run again"
    except OSError as error:
        reason = (
            f"cannot be written to {target} ({error.strerror or error}); free some space, or name "
            "another folder with --to"
        )
    raise DataError(f"{url} {reason}.")


def _check_video(path: Path) -> None:
    """Refuse what does not begin as an MP4 file does (ISO/IEC 14496-12, 4.3)."""
    with open(path, "rb") as stream:
        if stream.read(8)[4:] != b"ftyp":
            raise DataError(f"{path} is not an MP4 video; delete it and fetch it again.")


def check(name: str, data: str = "", **options) -> str:
    """Load a data set with all the checks of its loader, and open a sample of its images.

    Parameters
    ----------
    name : of the data set
    data : folder, file or hub id; "" for where `get` puts it
    options : options of its loader; without `split`, FairFace's val and train, where they are there

    Returns
    -------
    str, a few lines a split: how many images, the sizes of the groups, notes

    Raises
    ------
    DataError  if anything is missing or altered, or an image of the sample cannot be read
    """
    source = SOURCES.get(name)
    if source and not data:
        data = source.hub or str(place(name))
    known = () if source and source.urls else dataset_options(name)
    if unknown := [option for option in options if option not in known]:
        raise ParameterError(
            f'data set {name} has no option "{unknown[0]}"; it has {", ".join(known) or "none"}.'
        )
    if source and source.urls:
        return _check_files(name, Path(data).expanduser(), list(source.urls))
    splits = ["val", "train"] if "split" in known and "split" not in options else [None]
    lines, failed = [], []
    for split in splits:
        try:
            images = load_dataset(name, data, **options | ({"split": split} if split else {}))
        except DataError as error:
            failed.append(error)
            continue
        lines += _summary(images)
    if len(failed) == len(splits):
        raise failed[0]
    return "\n".join([*lines, *(f"not there: {error}" for error in failed)])


def _check_files(name: str, folder: Path, files: list[str]) -> str:
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise DataError(f"{folder} lacks {missing[0]}; run `clipeval data get {name}`.")
    for file in files:
        _check_video(folder / file)
    sizes = [f"  {file}: {(folder / file).stat().st_size:,} bytes" for file in files]
    return "\n".join([f"{name}: {len(files)} clips", *sizes])


def _summary(images: pd.DataFrame) -> list[str]:
    from clipeval.datasets.base import sample
    from clipeval.embedding.images import UnreadableImage, open_image, read_bytes

    attrs = images.attrs
    lines = [f"{attrs['name']}, {attrs['version']}: {len(images):,} images"]
    for group in attrs["groups"]:
        sizes = images[group].value_counts(sort=False)
        few = ", ".join(f"{value} {n:,}" for value, n in list(sizes.items())[:12])
        lines.append(f"  {group}: {few}" + f" and {len(sizes) - 12:,} more" * (len(sizes) > 12))
    tried = sample(images, SAMPLE, 0)
    for image in tried.itertuples():
        row = getattr(image, "row", None)
        try:
            open_image(read_bytes(image.file, None if row is None else int(row)))
        except (UnreadableImage, OSError) as error:
            raise DataError(f"{image.file} cannot be read ({error}); fetch it again.") from None
    lines.append(f"  {len(tried)} images, drawn at random, could be read")
    lines += [f"  not a group: {why}" for why in attrs.get("not_groups", {}).values()]
    return lines + [f"  note: {note}" for note in attrs.get("notes", [])]
