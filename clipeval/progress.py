"""How a run is going: one live view on a terminal, one printed line a change elsewhere."""

import sys


class Progress:
    """Told of each study's state; used as a context manager.

    On a terminal the studies stand below one another, each with a bar of the share that is done; the
    view goes away while a study is embedded, which shows a bar of its own.

    Parameters
    ----------
    studies : study ids
    stream : where it is shown; by default stderr
    quiet : show nothing
    """

    def __init__(self, studies, stream=None, *, quiet: bool = False):
        self.stream, self.quiet = stream or sys.stderr, quiet
        self.live = self.stream.isatty()
        self.state: dict[str, str] = {}
        self.studies = list(studies)
        self.bars = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bars:
            self.bars.live.transient = False  # its last state stays
            self.bars.start()
            self.bars.stop()

    def tell(self, study: str, state: str, share: float, seconds: float) -> None:
        """Take note of a study's state ("running", say), the share of it that is done (0-1), and the time it took."""
        if self.quiet:
            return
        changed = self.state.get(study) != state
        self.state[study] = state
        ended = state in ("done", "failed")
        if not self.live:
            if changed:
                spent = f" after {seconds:.0f} s" if ended else ""
                print(f"{study}: {state}{spent}", file=self.stream, flush=True)
            return
        if state == "embedding":
            if self.bars:
                self.bars.stop()
            if changed:
                print(f"{study}: embedding what is not stored yet", file=self.stream, flush=True)
            return
        if not self.bars and state == "running":
            self._open()
        if self.bars:
            self.bars.start()
            row = self.rows[study]
            if changed and state == "running":
                self.bars.start_task(row)
            self.bars.update(row, completed=share, state=state)
            if ended:
                self.bars.stop_task(row)
                self.bars.tasks[row].finished_time = seconds  # not when it was told

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self.bars = Bars(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            TextColumn("{task.fields[state]:<8}"),
            TimeElapsedColumn(),
            console=Console(file=self.stream),
            transient=True,
        )
        self.rows = {
            study: self.bars.add_task(
                study,
                total=1.0,
                start=False,
                state=self.state.get(study, "waiting"),
                completed=float(self.state.get(study) == "kept"),
            )
            for study in self.studies
        }
