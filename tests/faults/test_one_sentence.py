"""A full disk, too little memory, signals, dead processes: one sentence and the exit code of the contract."""

import errno
import os
import signal

import pytest

from clipeval import cli
from clipeval.errors import ClipevalError, DataError, sentence
from clipeval.files import whole_file
from clipeval.runs import runner
from clipeval.runs.signals import Terminated, sigterm_raises

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ended(monkeypatch, capsys, act) -> tuple[int, str]:
    """Exit code and last line of a command in which `act` happens."""
    monkeypatch.setattr("sys.argv", ["clipeval", "list", "models"])
    monkeypatch.setattr("clipeval.listing.print_list", lambda *_, **__: act())
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said and len(said.splitlines()) == 1
    return stop.value.code, said


def raising(error):
    def act(*_, **__):
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FULL, 1, "clipeval: a file: No space left on device; make room on that disk, or name "),
        (
            OSError(errno.EROFS, "Read-only file system", "/x/y"),
            1,
            "clipeval: /x/y: Read-only file",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: Permission denied; "),
        (MemoryError(), 1, "clipeval: memory ran out (MemoryError); use a smaller batch_size"),
        (
            RuntimeError("CUDA out of memory. Tried"),
            1,
            "memory ran out (CUDA out of memory. Tried)",
        ),
        (EOFError(), 1, "clipeval: a process or file ended before its time; "),
        (DataError("x is no table; mend it."), 2, "clipeval: x is no table; mend it."),
        (KeyboardInterrupt(), 130, "stopped; what was embedded or fetched is kept"),
    ],
)
def test_what_the_user_can_mend_is_one_line(monkeypatch, capsys, error, code, said):
    found = ended(monkeypatch, capsys, raising(error))
    assert found[0] == code and said in found[1]


def test_a_mistake_in_the_package_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("sys.argv", ["clipeval", "list", "models"])
    monkeypatch.setattr("clipeval.listing.print_list", raising(ZeroDivisionError("here")))
    with pytest.raises(ZeroDivisionError, match="here"):
        cli.main()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_is_one_line_and_exit_code_143(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)
    code, said = ended(monkeypatch, capsys, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert code == 143 and said.startswith("terminated; what was embedded or fetched is kept")
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_that_was_forked_ends_by_the_signal_itself():
    """As the processes that read images do: they have nothing to record."""
    with sigterm_raises():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Terminated:
                os._exit(7)
            os._exit(8)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_a_full_disk_names_the_file_that_did_not_fit_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("{}")
    before = path.read_bytes()
    with pytest.raises(OSError) as full, whole_file(path) as beside:
        beside.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert sentence(full.value) == (
        f"{path}: No space left on device; make room on that disk, or name another folder, and "
        "repeat the same command."
    )
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.json"]


def test_a_study_on_a_full_disk_fails_with_that_sentence():
    assert runner._said(FULL).startswith("a file: No space left on device; make room")
    assert runner._said(ValueError("a\nb")) == "ValueError: a\\nb"
    assert len(runner._said(ValueError("x" * 9000))) <= 500


@pytest.mark.parametrize("length", [300, 500, 501, 5000, 300_000])
def test_an_error_is_one_line_of_at_most_500_characters_and_keeps_its_mend(length):
    name = "n" * (length - 30)
    said = str(ClipevalError(f"{name} is not known; mend it."))
    assert len(said) <= 500 and said.endswith(" is not known; mend it.") and said.startswith("nnn")
    error = DataError("first", problems=["y" * 900, "short"])
    assert [len(text) <= 500 for text in error.problems] == [True, True]


def test_names_that_break_a_line_are_escaped():
    said = str(DataError("folder a\nb\u202ec\udcff\x1b[2J is missing; mend it."))
    assert said == "folder a\\nb\\u202ec\\udcff\\x1b[2J is missing; mend it."
    assert said.encode("utf-8")


class Context:
    """Processes whose forks' parent has died `deaths` times."""

    def __init__(self, deaths):
        self.deaths, self.started = deaths, 0

    def Pipe(self, duplex):
        import multiprocessing

        return multiprocessing.Pipe(duplex)

    def Process(self, **_):
        return self

    def start(self):
        if self.deaths:
            self.deaths -= 1
            raise EOFError
        self.started += 1


@pytest.mark.parametrize(("deaths", "started"), [(0, 1), (1, 1), (2, 0)])
def test_what_processes_are_forked_from_may_die_once(tmp_path, deaths, started):
    """It is started again; where it dies again the study fails, and nobody is said to have stopped it."""
    from clipeval.runs.profiles import plan_run

    plan, context = plan_run(["card"], "demo", {}, str(tmp_path)), Context(deaths)
    if started:
        runner._Running.start("card", plan["card"], {}, tmp_path, context).pipe.close()
    else:
        (outcome,) = runner._notebooks(plan, None, tmp_path, context, 1, lambda *told: None)
        assert outcome.error.startswith("its process could not start: a process or file ended")
    assert context.started == started


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize("text", [LAUGHS, "classes: " + 3000 * "[" + 3000 * "]", "a: &a {b: *a}"])
@pytest.mark.parametrize("kind", ["class set", "templates", "audit"])
def test_yaml_that_grows_or_nests_without_end_is_one_sentence(tmp_path, kind, text):
    from clipeval.classify.class_sets import load_class_set, load_templates
    from clipeval.runs.audit_file import read_audit

    path = tmp_path / "words.yaml"
    path.write_text(text)
    load = {"class set": load_class_set, "templates": load_templates, "audit": read_audit}[kind]
    with pytest.raises(ClipevalError, match=r"alias|nest|deep") as error:
        load(str(path))
    assert len(str(error.value)) <= 500


def test_a_process_that_reads_images_may_die(monkeypatch):
    """As the kernel kills one for memory; what torch says of anything else is not taken for that."""
    import torch

    from clipeval.embedding.loading import load_batches

    def broken(said):
        def loader(*_, **__):
            raise RuntimeError(said)

        monkeypatch.setattr(torch.utils.data, "DataLoader", lambda *_, **__: map(loader, [1]))
        return list(load_batches([0, 1], [[0], [1]], 2, "cpu"))

    with pytest.raises(
        DataError, match=r"died \(DataLoader worker .* Killed.*use fewer workers, or "
    ):
        broken("DataLoader worker (pid 7) is killed by signal: Killed.")
    with pytest.raises(RuntimeError, match="shapes"):
        broken("shapes cannot be multiplied")
