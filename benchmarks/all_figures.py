"""Run every benchmark, and put all figures onto one page, each with what it is compared with: docs/figures.md.

    python benchmarks/all_figures.py              about half an hour on two cores (`make bench`)
    python benchmarks/all_figures.py --table      the page alone, of what lies in benchmarks/results

Each script writes its figures into benchmarks/results/NAME.json; larger sizes that were measured before stay there. How
long each took, and on what machine, is in benchmarks/results/runs.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "figures.md"
#: scripts in the order of the table, at sizes that fit into half an hour together
SCRIPTS = {
    "start": [],
    "embedding_throughput": ["--rounds", "3", "--beside", "1", "--images", "128"],
    "embedding_memory": [],
    "linear_probe": [],
    "tables_million": ["--rounds", "2"],
    "warm_reports": ["--rounds", "2"],
    "answers_run": [],
    "store_scale": [],
    "statistics_scale": ["--answers", "100000000"],
    "runtimes": ["--rounds", "2", "--images", "32"],
    "gpu": [],
}
HEAD = """# All figures

Made by `make bench` (`benchmarks/all_figures.py`) from the files in `benchmarks/results/`; what they mean is said in
[Speed](speed.md) and [Millions of images](scale.md). Ratios are medians with the lowest and highest of their rounds,
each taken within one round; what ran once has no range. Rows of one benchmark are of one run, but for the largest store
and the checkpoint on photographs, which ran by themselves; runs may be of different days, with other work on
the machine or without. Seconds of processor time are those of all processes that a step starts.
"""


def ratio(values, digits: int = 2) -> str:
    """Median (lowest to highest) of [median, lowest, highest]; of one round its value alone."""
    median, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{median} ({low} to {high})" if len(set(values)) > 1 else median


def middle(values) -> list[float]:
    """[median, lowest, highest] of values, of an even number of them the larger of the two in the middle."""
    return [sorted(values)[len(values) // 2], min(values), max(values)]


def start(found):
    bare, typer = (ratio(found[name]["wall-clock"], 3) for name in ("Python alone", "import typer"))
    for name, beside in (
        ("clipeval --help", f"`import typer` alone: {typer} s"),
        ("import clipeval", f"Python alone: {bare} s"),
    ):
        aim = "under 0.15 s" if name.endswith("help") else "at most 0.05 s more"
        yield f"`{name}`, wall-clock time", f"{ratio(found[name]['wall-clock'], 3)} s", beside, aim


def embedding_throughput(found):
    what = f"{found['images']} images through ViT-B/32 on the CPU, speed by"
    names = {"clipeval": "`embed_images`", "plain": "a DataLoader loop"}
    names["clip_benchmark"] = "CLIP_benchmark's loop"
    for clock in ("wall-clock", "processor"):
        for label, values in found[clock].items():
            aim = "at least 0.95" if (label, clock) == ("clipeval", "wall-clock") else ""
            yield (
                f"{what} {clock} time, {names[label]}",
                ratio(values, 3),
                "forward pass alone",
                aim,
            )
    if inside := found.get("inside"):
        yield (
            f"{found['images']} images through ViT-B/32 on the CPU, time in the forward pass",
            ratio(inside, 3),
            "all time of `embed_images`",
            "",
        )


def embedding_memory(found):
    for what, peaks in found.items():
        (few, less), (many, more) = peaks.items()
        grown = f"{more['process'] - less['process']:.0f} MiB more"
        beside = f"{int(few):,} images: {less['process']:.0f} MiB"
        yield f"`{what}`, peak memory for {int(many):,} images", grown, beside, "at most 100 MiB"


def linear_probe(found):
    full, quarter, newton = found["full"], found["quarter"], found["newton"]
    what = "linear probe, choice of C and fit,"
    seconds = f"{full['seconds']:.0f} s ({full['cpu_seconds']:.0f} s processor)"
    yield f"{what} {full['images']:,} x 768", seconds, "", "at most 60 s"
    features = f"its features: {full['features_mib']:.0f} MiB"
    yield "the same, peak memory", f"{full['peak_mib']:.0f} MiB", features, "at most 2,560 MiB"
    beside = "scikit-learn from zero at the same values of C"
    images = quarter["scikit-learn"]["images"]
    for name, clock in (("ratio", "wall-clock"), ("cpu_ratio", "processor")):
        times = f"{ratio(middle(quarter[name]), 1)} times as fast"
        yield f"{what} {images:,} x 768, {clock} time", times, beside, "at least 20"
    differ = f"{quarter['labels_that_differ']} of 10,000"
    yield "the same, held-out labels that differ", differ, beside, "none but at ties"
    ours, theirs = quarter["torch"][0], quarter["scikit-learn"]
    beside = (
        f"scikit-learn: {theirs['iterations']:,}, {theirs['not_converged']} fits stopped at 1,000"
    )
    yield "the same, iterations of all fits", f"{ours['iterations']:,}", beside, ""
    apart = f"{newton['coefficients_differ_by']:.0e} of the largest"
    exact = "Newton's method in float64"
    yield f"coefficients, {newton['images']:,} x 768, C = 1", apart, exact, "at most 1e-4"


def tables_million(found):
    whose = {"paper": "the paper's studies", "all": "every study"}
    for name in ("paper", "all"):
        plain = f"plain pandas: {ratio(middle(found[name]['plain_seconds']), 1)} s"
        what = f"every table of {whose[name]} over 1,000,000 answers, processor time"
        yield what, f"{ratio(middle(found[name]['seconds']), 1)} s", plain, "5 s"
    if clocks := found["all"].get("clock"):
        what = "every table of every study over 1,000,000 answers, wall-clock time"
        yield what, f"{ratio(middle(clocks), 1)} s", "as many studies at once as cores", "5 s"
    peak = max(run["peak_mib"] for runs in found["studies"].values() for run in runs)
    yield "the same, peak memory of a study", f"{peak:.0f} MiB", "", "at most 600 MiB"


def each_study(found):
    for study, runs in found["studies"].items():
        seconds = ratio(middle([sum(run["seconds"].values()) for run in runs]))
        plain = ratio(middle([run["plain_seconds"] for run in runs]))
        yield f"`{study}`", seconds, plain, f"{max(run['peak_mib'] for run in runs):.0f}"


def warm_reports(found):
    beside = f"as many bare notebooks ({found['studies']})"
    for name, clock in (("ratio", "wall-clock"), ("ratio_cpu", "processor")):
        times = ratio(middle([one[name] for one in found["rounds"]]))
        aim = "at most 1.5" if name == "ratio" else ""
        yield f"all demo reports with a warm store, {clock} time", f"{times} times", beside, aim


def answers_run(found):
    (few, less), (many, more) = sorted(found.items(), key=lambda item: int(item[0]))
    for study, seconds in more.items():
        yield f"`{study}`", f"{int(many):,}", f"{seconds:.1f}", f"{int(few):,}: {less[study]:.1f}"


def store_scale(found):
    steps = {
        "write": "written, each shard synced to disk",
        "nothing": "one row of the first shard looked up",
        "check": "read, each row once, checksums held",
        "zero_shot": "top of ten classes for each row",
        "probe": "copied into a mapped matrix, and one fit of a probe on it",
        "plain": "beside it, files read by pyarrow alone, nothing checked",
    }
    for n, measured in sorted(found.items(), key=lambda item: int(item[0])):
        for step, label in steps.items():
            if one := measured.get(step):
                times = f"{one['seconds']:.1f}", f"{one['cpu_seconds']:.1f}"
                yield f"{int(n):,}", label, *times, f"{one['peak_mib']:.0f}"


def statistics_scale(found):
    for n, one in found.items():
        seconds = one["counting_seconds"] + one["tables_seconds"]
        figure = f"{seconds:.1f} s, peak {one['peak_mib']:.0f} MiB"
        beside = f"before the first answer: {one['peak_before_mib']:.0f} MiB"
        yield f"rates and gaps of {int(n):,} answers", figure, beside, "constant memory"


def runtimes(found):
    models = {name: about for name, about in found.items() if isinstance(about, dict)}
    for name, about in models.items():
        kind = "photographs" if about["photographs"] else "generated images"
        for way, one in about["ways"].items():
            if way != "torch fp32":
                what = f"{name}, {one['images']:,} {kind}"
                faster = ratio(one["cpu_ratio"]), ratio(one["clock_ratio"])
                first = f"{one['first_batch_cpu_seconds']:.1f}"
                changed = f"{one['changed_labels_percent']:.1f} %"
                yield what, way, *faster, first, f"{one['largest_difference']:.0e}", changed


def gpu(found):
    on, models = found["card"], {k: v for k, v in found.items() if k.startswith("ViT")}
    for name, ways in models.items():
        for way, one in ways.items():
            what, speed = f"{name}, {way}, {on}", f"{one['embed_images'][0]:.0f} images/s, "
            smaller = ratio(one["of the smaller of forward and decode"])
            yield what, speed + smaller, "the smaller of forward and decode", "at least 0.9"
            yield what, ratio(one["of the plain loop"]), "a DataLoader loop", ""
            changed = f"{one['changed labels, percent']:.2f} % of labels changed"
            yield what, changed, f"fp32, {found['weights']} weights", ""
    probe = found["linear probe"]
    yield f"linear probe, {on}", f"{probe['seconds'][0]:.1f} s", "", "under 3 s"


#: title and columns of a table -> scripts whose figures are its rows, and what makes them
SECTIONS = {
    ("Aims", ("what", "figure", "compared with", "aim")): {
        "start": start,
        "embedding_throughput": embedding_throughput,
        "embedding_memory": embedding_memory,
        "linear_probe": linear_probe,
        "tables_million": tables_million,
        "warm_reports": warm_reports,
        "statistics_scale": statistics_scale,
        "gpu": gpu,
    },
    (
        "Tables of each study over 1,000,000 answers",
        ("study", "seconds of processor time", "plain pandas", "peak memory, MiB"),
    ): {"tables_million": each_study},
    (
        "Whole runs over answers made elsewhere",
        ("study", "images", "seconds by the clock", "of fewer images"),
    ): {"answers_run": answers_run},
    (
        "Stores of generated vectors (64 dimensions, float16)",
        ("rows", "step", "seconds", "of processor time", "peak memory, MiB"),
    ): {"store_scale": store_scale},
    (
        "Other runtimes on a CPU, times as fast as torch in fp32",
        (
            "model and images",
            "run by",
            "by processor time",
            "by the clock",
            "first batch, seconds of processor time",
            "largest difference of a component",
            "changed labels",
        ),
    ): {"runtimes": runtimes},
}


def page(results: Path = RESULTS) -> str:
    """The whole page as Markdown."""
    text = HEAD
    for (title, columns), scripts in SECTIONS.items():
        rows = [columns, ["---"] * len(columns)]
        for script, rows_of in scripts.items():
            file = results / f"{script}.json"
            if file.exists():
                rows += rows_of(json.loads(file.read_text()))
            else:
                rows.append([f"`{script}.py`", "not measured", *[""] * (len(columns) - 2)])
        text += f"\n## {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    if (runs := results / "runs.json").exists():
        about = json.loads(runs.read_text())
        spent = ", ".join(f"{script} {seconds:.0f}" for script, seconds in about["seconds"].items())
        text += f"\nThe last run of all took {sum(about['seconds'].values()) / 60:.0f} minutes on {about['machine']} "
        text += f"(seconds: {spent}).\n"
    return text


def main() -> None:
    """Run what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--scripts", default=",".join(SCRIPTS), help="those to run")
    given = parser.parse_args()
    runs, failed = RESULTS / "runs.json", []
    spent = json.loads(runs.read_text())["seconds"] if runs.exists() else {}
    for script in [] if given.table else given.scripts.split(","):
        print(f"== {script}", flush=True)
        command = [sys.executable, str(HERE / f"{script}.py"), *SCRIPTS[script]]
        began = time.perf_counter()
        ended = subprocess.run([*command, "--json", str(RESULTS / f"{script}.json")])
        spent[script] = round(time.perf_counter() - began, 1)
        failed += [script] * (ended.returncode != 0)
        machine = f"{os.cpu_count()} cores ({platform.machine()})"
        about = {"machine": machine, "seconds": {s: spent[s] for s in SCRIPTS if s in spent}}
        runs.write_text(json.dumps(about, indent=1) + "\n")
    PAGE.write_text(page(), "utf-8")
    print(page())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
