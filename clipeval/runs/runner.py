"""A run: every study's notebook executed by papermill into one folder, with its record and pages.

Each notebook runs in a process of its own. Where the system can, these are forked from one process
that has everything loaded, so that a study starts in a moment; they lead process groups of their own,
so that stopping a run leaves nothing behind.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from pathlib import Path

from clipeval.classify.class_sets import load_class_set
from clipeval.errors import ClipevalError, SetAside, listen, one_line, sentence
from clipeval.files import Folder, as_json, keep, kept, sha256
from clipeval.output.provenance import HOW, code_hash, deciding
from clipeval.runs import changes
from clipeval.runs.places import own
from clipeval.runs.processes import process_context
from clipeval.runs.signals import lead_group
from clipeval.session.local_paths import hider, told, write_local
from clipeval.session.look_ahead import refuse
from clipeval.session.parameters import Parameters, to_inject
from clipeval.session.record import StudyRecord, read_study, write_run
from clipeval.session.run_folder import only_writer, refuse_foreign, refuse_mixing
from clipeval.session.session import Session
from clipeval.studies import STUDIES, opened, start
from clipeval.studies.sensitivity.variation import ranges

Tell = Callable[[str, str, float, float], None]


@dataclass(frozen=True)
class Outcome:
    """How one study ended: `error` is empty where it is done, `kept` where it had been done before."""

    study: str
    seconds: float
    error: str = ""
    kept: bool = False


def run_studies(
    plan: dict[str, Parameters],
    out: Path,
    *,
    arguments: dict | None = None,
    jobs: int = 0,
    resume: bool | None = None,
    tell: Tell = lambda study, state, share, seconds: None,
    progress: bool = True,
) -> list[Outcome]:
    """Run studies into `out`; a study that fails keeps its notebook, and the others finish.

    Images and prompts are embedded in this process alone, so that nothing is embedded twice at once.
    What a study reads is embedded while notebooks of the studies before it run from the store, side
    by side; the card, which draws on the others, comes last. Results of a run before are compared
    with the new ones (changes.json).

    Parameters
    ----------
    plan : dict of study id to Parameters
    out : run folder
    arguments : what the user asked for, recorded in run.json
    jobs : notebooks at once; 0 for one a core
    resume : whether to keep studies that are done with the same parameters, data, classes, model,
        code and versions; None for yes where the run before was stopped or a study of it failed
    tell : callable
        Told (study, state, share done 0-1, seconds since its notebook started) as the work goes on;
        states are "embedding", "running", "kept", "done", "failed". While one study is embedded, news
        of the others waits.
    progress : show a bar while images are embedded

    Returns
    -------
    list of Outcome, in the order of `plan`

    Raises
    ------
    ParameterError  if another run is writing into `out`, or it holds what no run wrote, or another
        model's results
    """
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        refuse_foreign(out)
        refuse_mixing(out, own(plan))
        jobs = jobs or os.cpu_count() or 1
        return _run(plan, out, arguments or {}, jobs, resume, tell, progress)


def _run(plan, out: Path, arguments: dict, jobs: int, resume: bool | None, tell: Tell, progress):
    from clipeval.runs import pages

    run = write_run(out)
    if resume is None:
        resume = run.state not in ("", "done")
    began = time.time()
    failed = {study: said for study, said in run.failed.items() if study not in plan}
    write_local(out, {study: p.model_dump() for study, p in plan.items()})
    given = told(arguments.get("parameters", {}))
    write_run(out, arguments=arguments | {"parameters": given}, state="running", failed=failed)
    outcomes: dict[str, Outcome] = {}
    try:
        context = process_context(jobs)
        todo = [study for study in plan if not (resume and _is_done(study, plan[study], out))]
        for study in plan:
            if study not in todo:
                outcomes[study] = Outcome(study, 0.0, kept=True)
                tell(study, "kept", 1.0, 0.0)
        for study in todo:
            changes.set_aside(out, study)
        embed = partial(_embed, tell=tell, progress=progress)
        for outcome in _notebooks({s: plan[s] for s in todo}, embed, out, context, jobs, tell):
            outcomes[outcome.study] = outcome
            if outcome.error:
                hide = hider(plan[outcome.study].model_dump(), out)
                failed[outcome.study] = hide(outcome.error)
        state = "failed" if failed else "done"
    except BaseException:
        state = "stopped"
        raise
    finally:
        spent = round(time.time() - began, 1)
        now = time.strftime("%Y-%m-%d %H:%M:%S %z")
        write_run(out, state=state, seconds=spent, finished=now, failed=failed)
        _write_changes(out, list(plan), state)
        pages.write_index(out)
        Folder(out).tidy()
    return [outcomes[study] for study in plan]


def _write_changes(out: Path, studies: list[str], state: str) -> None:
    """Compare with what was set aside, of studies that finished; write changes.json."""
    found = {}
    for study in studies:
        before = changes.kept_before(out, study)
        if before and (out / study / "study.json").is_file():
            found[study] = changes.compare_study(before, out / study)
            if state != "stopped":
                changes.forget(out, study)
    if found:
        Folder(out).write("changes.json", as_json(found))
    else:
        Folder(out).remove("changes.json")


def _is_done(study: str, parameters: Parameters, out: Path) -> bool:
    """Whether OUT/STUDY holds what running it again would give; the card is always drawn anew."""
    record = read_study(out / study)
    if record is None or STUDIES[study].is_summary:
        return False
    try:
        session = start(study, parameters)
        if record.code is None or session.code["sha256"] != record.code.sha256:
            return False
        # prompts follow from code, data, class sets and templates; only the notebook knows them all
        causes = changes.causes(_deciding(record), _deciding(session.record()))
        differ = {cause["what"] for cause in causes}
        differ -= {"code", "prompts"}  # the commit may be another: the content is the same
        return not any(what for what in differ if not what.startswith("class set ")) and all(
            _class_set_hash(session, label) == words.hash
            for label, words in record.class_sets.items()
        )
    except Exception:  # whatever it is, the notebook will say
        return False


def _deciding(record: StudyRecord) -> StudyRecord:
    """A record without versions that no number depends on."""
    return record.model_copy(update={"versions": deciding(record.versions)})


def _class_set_hash(session: Session, label: str) -> str:
    if session.parameters.class_set and session.class_set.label == label:
        return session.class_set.hash
    return load_class_set(label.rsplit(" v", 1)[0]).hash


def _embed(study: str, parameters: Parameters, tell: Tell, progress: bool = True) -> dict:
    """Fill the store, and say what was done; what goes wrong is shown by the notebook, which meets it again."""
    try:
        session = opened(study, parameters, progress=progress)
        if not session.source.may_embed:
            return {}
        mark = _mark(session)
        if mark and _is_warm(mark):
            return {}
        refuse(session)
        tell(study, "embedding", 0.0, 0.0)
        session.predict()
        ranges(session)  # what its notebook asks in other words
    except Exception:
        return {}
    if mark := _mark(session):
        shards = mark.parent.parent.glob("*/*.parquet")
        with contextlib.suppress(OSError):  # a store that may only be read
            names = sorted(str(p.relative_to(session.store.root)) for p in shards)
            keep(mark, json.dumps(names).encode())
    return session.work()


def _mark(session: Session) -> Path | None:
    """Where the store notes that it held all that a study asks for, of just these images; None if unknown."""
    from clipeval import __version__

    p = session.parameters
    info = session.source.known
    if info is None:
        return None
    about = p.model_dump(exclude=HOW)
    classes = session.class_set.hash if p.class_set else ""
    parts = [
        __version__,
        code_hash(),  # with other code a probe is fitted anew, which is shown on the terminal
        session.study.id,
        about,
        classes,
        session.templates.hash,
        session.source.files(session.images).states.tolist(),
    ]
    name = sha256(json.dumps(parts, default=str))
    return session.store.root / info.fingerprint[:32] / "complete" / f"{name}.kept"


def _is_warm(mark: Path) -> bool:
    """Whether the shards of that time are all still there."""
    shards = kept(mark)
    return shards is not None and all(
        (mark.parents[2] / name).is_file() for name in json.loads(shards)
    )


def _notebooks(plan, embed: Callable, out: Path, context, jobs: int, tell: Tell):
    """Embed and run study after study, at most `jobs` at once and the card last; yields an Outcome as each one ends."""
    waiting = [study for study in plan if not STUDIES[study].is_summary]
    last = [study for study in plan if STUDIES[study].is_summary]
    running: dict[connection.Connection, _Running] = {}
    try:
        while waiting or last or running:
            if not waiting and not running:
                waiting, last = last, []
            while waiting and len(running) < jobs:
                study = waiting.pop(0)
                work = {} if STUDIES[study].is_summary else embed(study, plan[study])
                try:
                    one = _Running.start(study, plan[study], work, out, context)
                except (EOFError, OSError) as failure:
                    tell(study, "failed", 1.0, 0.0)
                    yield Outcome(study, 0.0, f"its process could not start: {_said(failure)}")
                    continue
                running[one.pipe] = one
                tell(one.study, "running", 0.0, 0.0)
            # none may have started, and to wait for none would be for ever
            for pipe in connection.wait(list(running)) if running else ():
                one = running[pipe]
                heard = one.heard()
                if isinstance(heard, str):
                    warnings.warn(heard, SetAside, stacklevel=2)
                    continue
                share, error, at = heard
                if share is not None:
                    tell(one.study, "running", share, at - one.began)
                    continue
                del running[pipe]
                one.process.join()
                tell(one.study, "failed" if error else "done", 1.0, at - one.began)
                yield Outcome(one.study, at - one.began, error)
    finally:
        for one in running.values():
            one.stop()


@dataclass
class _Running:
    """A study whose notebook runs in another process."""

    study: str
    folder: Path
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    began: float

    @classmethod
    def start(cls, study: str, parameters, work: dict, out: Path, context) -> "_Running":
        source = STUDIES[study].notebook_path
        values = to_inject(parameters, source) | {"out": str(out)}
        for again in (True, False):
            pipe, theirs = context.Pipe(duplex=False)
            arguments = (source, out / study, values, work, dict(os.environ), theirs)
            process = context.Process(target=_execute, args=arguments, name=f"clipeval {study}")
            try:
                process.start()
            except (EOFError, OSError):  # what it is forked from has died, and is started again
                pipe.close()
                if not again:
                    raise
                continue
            finally:
                theirs.close()
            return cls(study, out / study, process, pipe, time.time())

    def heard(self) -> tuple[float | None, str, float] | str:
        """Share done, or None and how it ended, and when; a sentence where a damaged file was set aside."""
        try:
            return self.pipe.recv()
        except EOFError:  # it died: killed for memory, say, or a crash in a library
            self.process.join()
        from clipeval.runs import pages

        error = f"its process ended with code {self.process.exitcode}"
        if self.process.exitcode == -signal.SIGKILL:
            error += "; was there enough memory?"
        pages.write_study(self.folder, error=error)
        return None, error, time.time()

    def stop(self) -> None:
        """Kill the process and whatever it started; a store survives that at any moment."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL) if hasattr(os, "killpg") else None
        self.process.kill()
        self.process.join()


def _execute(source: Path, folder: Path, values: dict, work: dict, environment: dict, pipe) -> None:
    """Run one notebook, in a process of its own, and write its page."""
    lead_group()
    os.environ.clear()  # the process this one is forked from may have started in another
    os.environ.update(environment, MPLBACKEND="agg")
    import papermill

    from clipeval.runs import engine, pages
    from clipeval.session import session

    session.work_before.update(work)
    listen(pipe.send)  # said on the terminal, and not in the notebook, which others read
    try:
        error = ""
        engine.execute(
            source, folder, values, tell=lambda share: pipe.send((share, "", time.time()))
        )
    except papermill.PapermillExecutionError:
        error = _said(engine.Shell.instance().failure)
    except Exception as failure:  # whatever happens to one study, the others finish
        error = _said(failure)
    if not error and not (folder / "study.json").is_file():
        error = "its notebook ended without results; let its last cell be session.finish()"
    try:
        pages.write_study(folder, error=hider(values, folder.parent)(error))
    except Exception as failure:
        error = error or f"its page could not be written: {_said(failure)}"
    pipe.send((None, error, time.time()))


def _said(failure: BaseException) -> str:
    """What a study failed with, as one line."""
    return sentence(failure) or one_line(
        ClipevalError(f"{type(failure).__name__}: {failure}"), most=500
    )
