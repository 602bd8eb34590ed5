"""How long every table of every study takes over 1,000,000 answers, beside a plain pandas pass over the same rows.

Answers are generated; each study has a process of its own, as in a run. Its tables are those of its notebook, by
race, gender and age, where it has groups; what reads embeddings besides (candidates, fitted methods) is left out.
The plain pass is one `groupby(...)["hit"].agg(["size", "sum"])` for each table, over string columns of the same
answers, without intervals, tests or published values.

    python benchmarks/tables_million.py [--answers 1000000] [--rounds 3] [--json FILE] [--tables FOLDER]

Processor seconds, the import of scipy.special and of the study left out; peak memory with all that. Seconds by the
clock are those of all tables together, by as many processes at once as there are cores, as a run makes them, from
answers that are in memory. `--tables` keeps every table as a CSV file, so that two versions can be compared with diff.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from clipeval.classify.class_sets import load_class_set
from clipeval.datasets.fairface import AGES, RACES

GROUPS = {"race": list(RACES), "gender": ["Male", "Female"], "age": list(AGES)}


def draw(rng, names, n) -> pd.Categorical:
    return pd.Categorical.from_codes(rng.integers(0, len(names), n), list(names))


def people(rng, n: int) -> pd.DataFrame:
    """Images with FairFace's groups."""
    frame = pd.DataFrame({"image_id": [f"val/{i}.jpg" for i in range(n)]}).astype(object)
    return frame.assign(**{name: draw(rng, values, n) for name, values in GROUPS.items()})


def answers(images: pd.DataFrame, rng, tasks: dict, *, method="zero-shot", class_set="") -> list:
    """One frame a task, of top answers."""
    n, parts = len(images), []
    for task, classes in tasks.items():
        about = {"task": task, "method": method, "class_set": class_set, "templates": "photo"}
        about = {name: pd.Categorical([value]).repeat(n) for name, value in about.items()}
        frame = images[["image_id"]].assign(**about, rank=np.int32(1))
        frame = frame.assign(label=draw(rng, classes, n), prob=rng.random(n))
        parts.append(frame.join(images.drop(columns="image_id")))
    return parts


def together(parts: list) -> pd.DataFrame:
    """Frames one below the other; categoricals stay so."""
    found = {}
    for name in parts[0]:
        column = [part[name] for part in parts]
        if isinstance(column[0].dtype, pd.CategoricalDtype):
            found[name] = pd.api.types.union_categoricals(column)
        else:
            found[name] = np.concatenate([part.to_numpy() for part in column])
    return pd.DataFrame(found)


def fairface(n: int, rng):
    from clipeval.studies.fairface import tables

    classes = load_class_set("fairface").tasks
    images = people(rng, n // 7)
    asked = {name: list(classes[name]) for name in ("race", "gender", "age")}
    parts = answers(images, rng, asked)
    asked["race_binary"] = list(classes["race_binary"])
    frame = together(parts + answers(images, rng, asked, method="linear probe"))
    yield frame, [["method", "task", *by] for by in ([], ["race"], ["race", "gender"], ["age"])]
    given = tables.counted_answers(frame)
    yield "accuracy_by_white", tables.accuracy_by_white(given)
    yield "gender_by_race", tables.gender_by_race(given)
    for by in (["race", "gender"], ["age"], ["gender"]):
        yield f"by_{'-'.join(by)}", tables.accuracy_by_group(given, by=by)


def denigration(n: int, rng):
    from clipeval.studies.denigration import tables

    words = load_class_set("denigration")
    classes = [name for offered in words.tasks.values() for name in offered]
    images = people(rng, n)
    [frame] = answers(images, rng, {"denigration": classes}, class_set=words.label)
    groupings = [[], ["race"], ["gender"], ["age"], ["age_group"], ["race", "gender"]]
    yield frame, [by for by in groupings if "age_group" not in by]
    given = tables.counted_answers(frame, words)
    for by in groupings:
        yield f"by_{'-'.join(by)}", tables.rates_by(given, class_set=words, by=by)
    for by in GROUPS:
        yield f"classes_{by}", tables.harm_classes(given, class_set=words, by=[by])
    found = tables.gaps(given, class_set=words, by=list(GROUPS))
    yield "from_overall", found.from_overall
    yield "largest", found.largest


def class_design(n: int, rng):
    from clipeval.studies.class_design import tables

    pair = load_class_set("denigration"), load_class_set("denigration:child")
    images, parts = people(rng, n // 2), []
    for words in pair:
        asked = {name: list(classes) for name, classes in words.tasks.items()}
        parts += answers(images, rng, asked, class_set=words.label)
    frame = together(parts)
    yield frame, [["class_set", *by] for by in ([], ["race"], ["gender"], ["age"], ["label"])]
    how = {"class_set": pair[0], "other": pair[1]}
    given = tables.counted_answers(frame, *pair)
    yield "overall", tables.compare(given, every_category=True, **how)
    for by in GROUPS:
        yield f"by_{by}", tables.compare(given, by=[by], **how)
    yield "moved", tables.moved(given, **how)


def congress(n: int, rng):
    from clipeval.classify import score_sets
    from clipeval.studies.congress import tables

    words = load_class_set("congress")
    every = {name: list(words.tasks[name]) for name in ("occupations", "labels")}
    images = people(rng, n // (1 + sum(map(len, every.values()))))[["image_id", "gender"]]
    parts = answers(images, rng, {"gender": list(words.tasks["gender"])})
    for task, labels in every.items():
        k, many = len(labels), images.loc[images.index.repeat(len(labels))].reset_index(drop=True)
        [part] = answers(many, rng, {task: labels})
        prob = rng.dirichlet(np.full(k, 0.05), len(images))
        order = np.argsort(-prob, axis=1)
        part["rank"] = np.tile(np.arange(1, k + 1, dtype=np.int32), len(images))
        part["label"] = pd.Categorical.from_codes(order.ravel(), labels)
        part["prob"] = np.take_along_axis(prob, order, axis=1).ravel()
        parts.append(part)
    frame = together(parts)
    kinds = {label: name for name, members in words.categories.items() for label in members}
    yield frame, [["task", "gender"], *[["task", "label", "gender"]] * 4]
    yield "gender_accuracy", tables.gender_accuracy(frame)
    given = score_sets(frame)
    yield "labels_by_gender", tables.labels_by_gender(given, categories=kinds)
    yield "top_gendered", tables.top_gendered(given, categories=kinds)
    yield "thresholds", tables.thresholds(given)
    yield "categories", tables.categories(given, categories=kinds)


def celebrities(n: int, rng):
    from clipeval.studies.celebrities import tables
    from clipeval.studies.celebrities.identification import PROTOCOLS, TOP

    names = [f"Person {i}" for i in range(2000)]
    images, parts = people(rng, n // (6 * TOP))[["image_id"]], []
    images = images.assign(person=draw(rng, names, len(images)))
    gender = draw(rng, GROUPS["gender"], len(names))  # each person's, on all of their photographs
    images.insert(1, "gender", gender[images["person"].cat.codes])
    many = images.loc[images.index.repeat(TOP)].reset_index(drop=True)
    for protocol in PROTOCOLS:
        for k in (100, 1000, 2000):
            [part] = answers(many, rng, {f"K={k} {protocol}": names})
            part["rank"] = np.tile(np.arange(1, TOP + 1, dtype=np.int32), len(images))
            part["true_rank"] = rng.geometric(0.3, len(images)).clip(max=k).repeat(TOP)
            protocols = pd.Categorical([protocol]).repeat(len(many))
            parts.append(part.assign(protocol=protocols, names=k))
    frame = together(parts)
    yield frame, [["protocol", "names"]] * 2 + [["protocol", "names", "gender"]] * 2
    yield "top1_by_names", tables.top1_by_names(frame)
    yield "top1_by_gender", tables.top1_by_group(frame, by="gender")


def cctv(n: int, rng):
    from clipeval.studies.cctv import tables
    from clipeval.studies.cctv.questions import questions

    frames, scenes = n // 3, 12
    sequence = rng.integers(0, scenes, frames)
    text = np.array([f"a view of place {i}" for i in range(scenes)], object)[sequence]
    images = pd.DataFrame({"image_id": [f"{i}.jpg" for i in range(frames)], "sequence": sequence})
    images = images.astype({"sequence": str}).assign(caption=text, main_caption=text)
    images = images.assign(close_caption=text + " at night", present_caption="there is a dog")
    images = images.assign(absent_caption="there is no dog", fine_truth="present")
    asked = questions(images)
    said = [offered[pick % len(offered)] for offered, pick in
            zip(asked["offered"], rng.integers(0, 99, len(asked)), strict=True)]  # fmt: skip
    frame = asked[["image_id", "task"]].assign(rank=np.int32(1), label=said, prob=0.5)
    frame = frame.astype({"task": "category", "label": "category"})
    groups = frame.assign(sequence=asked["sequence"].astype("category"))
    yield groups, [["task"], ["task", "sequence"], ["task", "sequence", "label"]]
    given = tables.counted_answers(frame, asked)
    yield "accuracy", tables.accuracy(given, asked)
    yield "by_sequence", tables.by_sequence(given, asked)
    yield "confusion", tables.confusion(given, asked).reset_index()


def mitigation(n: int, rng):
    from clipeval.studies.mitigation import tables
    from clipeval.studies.mitigation.methods import UNCHANGED

    words = load_class_set("denigration")
    methods = (UNCHANGED, "orthogonal: gender", "prior: stated", "prototypes: 16")
    images, parts = people(rng, n // (2 * len(methods))), []
    for method in methods:
        asked = {"gender": GROUPS["gender"]}
        asked |= {name: list(classes) for name, classes in words.tasks.items()}
        parts += answers(images, rng, asked, method=method, class_set=words.label)
    frame = together(parts)
    yield frame, [["method", "task", *by] for by in ([], ["race"], ["gender"], ["age"])] * 2
    given = tables.counted_answers(frame, words)
    for by in ([], ["race"], ["gender"], ["age"]):
        yield f"changes_{'-'.join(by)}", tables.changes(given, harms=words, by=by)
    first = frame[frame["method"] == UNCHANGED]
    pairs = tables.farthest(first, harms=words, by=list(GROUPS))
    yield "gaps", tables.gaps(given, harms=words, pairs=pairs)


def retrieval(n: int, rng):
    """An answer is a score, of an image for a prompt; searches that embed anew (`choices`) are left out."""
    from clipeval.classify.class_sets import load_templates
    from clipeval.studies.retrieval import tables
    from clipeval.studies.retrieval.search import Search, Words, ks_of
    from clipeval.studies.retrieval.study import Parameters

    p = Parameters()
    words = Words("class_set", load_class_set(p.class_set), load_templates(p.templates))
    prompts = sum(map(len, words.texts.values()))
    images = people(rng, n // prompts)
    found = Search(words, images, rng.random((prompts, len(images))))
    about = {"searches": {"class_set": found}, "groupings": SimpleNamespace(names=list(GROUPS))}
    about |= {"ks": ks_of(p.k, len(images)), "found_k": p.found_k, "class_set": words.class_set}
    about |= {"asked": [[words]], "info": SimpleNamespace(fingerprint=""), "data_hash": ""}
    kept = {"remember": lambda name, key, compute: compute(), "comparable": False}
    session = SimpleNamespace(parameters=p, images=images, **about, **kept)
    frame = images.loc[images.index.repeat(prompts)].reset_index(drop=True)
    yield frame, [[by] for by in GROUPS] * 3
    yield "skew", tables.skew(session)
    for by in GROUPS:
        yield f"found_{by}", tables.found_by(session, by)
    yield "by_template", tables.by_template(session)


def sensitivity(n: int, rng):
    """An answer is whether an image is a hit of one of three numbers under one of ten choices of words."""
    from clipeval.studies.headlines import headline_rates
    from clipeval.studies.sensitivity.by_group import counted_within, rates_within
    from clipeval.studies.sensitivity.hits import compact

    images, parts = people(rng, n // 30), []
    choices = ["quantity", "class_set", "templates"]
    for i in range(30):
        about = {"method": "zero-shot", "images_of": "All", "cluster": None, "task": "all"}
        names = [f"number {i % 3}", "fairface" if i < 15 else "fairface:b", f"wording {i // 3 % 5}"]
        part = images[["image_id"]].assign(**dict(zip(choices, names, strict=True)), **about)
        parts.append(part.assign(hit=rng.random(len(images)) < 0.1 + i / 50))
    hits = compact(pd.concat(parts, ignore_index=True))
    groups = hits.join(images.set_index("image_id"), on="image_id")
    yield groups, [choices] + [[*choices, by] for by in GROUPS]
    rates = [
        headline_rates(part).assign(words=" ".join(key))
        for key, part in hits.groupby(choices[1:], sort=False, observed=True)
    ]
    yield "words", pd.concat(rates)
    given = counted_within(hits, images)
    for by in GROUPS:
        yield f"by_{by}", rates_within(given, by)


#: the studies of the paper, and what goes beyond it
PAPER = (fairface, denigration, class_design, congress, celebrities, cctv)
STUDIES = (*PAPER, mitigation, retrieval, sensitivity)
STUDIES = {f.__name__: f for f in STUDIES}


def one(study: str, n: int, folder: str) -> dict:
    """Processor seconds of each table of one study, of the plain pass, and peak memory in MiB."""
    made = STUDIES[study](n, np.random.default_rng(0))
    frame, groupings = next(made)
    import scipy.special  # noqa: F401

    # what is loaded is not looked through again, as in the process that a run forks its studies from
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    sys.stdin.readline()
    seconds, began = {}, time.process_time()
    for name, table in made:
        seconds[name], began = time.process_time() - began, time.process_time()
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            table.to_csv(Path(folder, f"{study}-{name}.csv"), index=False)
            began = time.process_time()
    print("done", flush=True)
    sys.stdin.readline()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    columns = sorted({name for by in groupings for name in by})
    plain = frame[columns].astype(
        {name: object for name in columns if frame[name].dtype == "category"}
    )
    plain["hit"] = np.random.default_rng(1).random(len(plain)) < 0.5
    began = time.process_time()
    for by in groupings:
        plain.groupby(by)["hit"].agg(["size", "sum"]) if by else plain["hit"].agg(["size", "sum"])
    pandas = time.process_time() - began
    return {"answers": len(frame), "seconds": seconds, "plain_seconds": pandas, "peak_mib": peak}


def round_of(studies, command: list[str], at_once: int) -> tuple[dict, float]:
    """What `one` says of each study, and seconds by the clock of all their tables, so many studies at once."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    pipes["env"] = os.environ | {
        "OMP_NUM_THREADS": "1"
    }  # as in a run, which shares cores among studies
    processes = {study: subprocess.Popen([*command, "--one", study], **pipes) for study in studies}

    def go_on(process) -> str:
        process.stdin.write("\n")
        process.stdin.flush()
        return process.stdout.readline()

    for process in processes.values():
        process.stdout.readline()  # its answers are ready
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(go_on, processes.values()))
    clock = time.perf_counter() - began
    found = {study: json.loads(go_on(process)) for study, process in processes.items()}
    for study, process in processes.items():
        process.communicate()
        if process.returncode:
            sys.exit(f"{study} failed")
    return found, clock


def main() -> None:
    """Print and keep the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    parser.add_argument("--tables", default="")
    parser.add_argument("--studies", default=",".join(STUDIES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return print(json.dumps(one(given.one, given.answers, given.tables)))
    command = [sys.executable, __file__, "--answers", str(given.answers), "--tables", given.tables]
    found, clocks = {study: [] for study in given.studies.split(",")}, []
    for _ in range(given.rounds):
        for study, measured in round_of(found, command, 1)[0].items():
            found[study].append(measured)
        clocks.append(round_of(found, command, os.cpu_count())[1])
    for study, runs in found.items():
        spent = [sum(run["seconds"].values()) for run in runs]
        middle = {name: round(statistics.median(run["seconds"][name] for run in runs), 3)
                  for name in runs[0]["seconds"]}  # fmt: skip
        print(f"{study}: {runs[0]['answers']:,} answers, {_range(spent)} s, plain pandas "
              f"{_range([run['plain_seconds'] for run in runs])} s, peak "
              f"{max(run['peak_mib'] for run in runs):.0f} MiB; {middle}")  # fmt: skip
    kept = {"studies": found}
    paper = {f.__name__: found[f.__name__] for f in PAPER if f.__name__ in found}
    for what, studies in (("paper", paper), ("all", found)):
        whole, plain = (
            [sum(take(runs[i]) for runs in studies.values()) for i in range(given.rounds)]
            for take in (lambda run: sum(run["seconds"].values()), lambda run: run["plain_seconds"])
        )
        kept[what] = {"seconds": whole, "plain_seconds": plain}
        print(f"{what}: {_range(whole)} s, plain pandas {_range(plain)} s")
    kept["all"]["clock"] = clocks
    print(f"all by the clock, {os.cpu_count()} at once: {_range(clocks)} s")
    if given.json:
        Path(given.json).write_text(json.dumps(kept, indent=1) + "\n")


def _range(values) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
