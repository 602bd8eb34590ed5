"""How a run is going: one live view on a terminal, one printed line a change elsewhere."""

import sys
import time


class Progress:
    """Told of each study's state; used as a context manager.

    On a terminal the studies stand below one another, each with a bar of the share that is done; the
    view appears when the first notebook starts, as embedding shows a bar of its own before that.

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
        self.began: dict[str, float] = {}
        self.studies = list(studies)
        self.bars = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bars:
            self.bars.stop()

    def tell(self, study: str, state: str, share: float) -> None:
        """Take note of a study's state ("running", say) and the share of it that is done (0-1)."""
        if self.quiet:
            return
        changed = self.state.get(study) != state
        self.state[study] = state
        if changed and state == "running":
            self.began[study] = time.monotonic()
        if not self.live:
            if changed and state != "waiting":
                print(f"{study}: {state}{self._spent(study, state)}", file=self.stream, flush=True)
            return
        if state == "running" and not self.bars:
            self._open()
        if self.bars:
            if changed and state == "running":
                self.bars.start_task(self.rows[study])
            self.bars.update(self.rows[study], completed=share, state=state)
            if state in ("done", "failed"):
                self.bars.stop_task(self.rows[study])
        elif state == "embedding" and changed:
            print(f"{study}: embedding what is not stored yet", file=self.stream, flush=True)

    def _spent(self, study: str, state: str) -> str:
        if state not in ("done", "failed") or study not in self.began:
            return ""
        return f" after {time.monotonic() - self.began[study]:.0f} s"

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
        self.bars.start()
