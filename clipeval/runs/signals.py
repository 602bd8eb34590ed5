"""What Ctrl-C and SIGTERM do to a command, and to the processes that it starts."""

import contextlib
import os
import signal
import threading


class Terminated(BaseException):
    """SIGTERM: as with Ctrl-C, what was begun is recorded as stopped and no process is left behind."""


@contextlib.contextmanager
def _handled(number: int, handler):
    """A signal is handled otherwise in this block; where none can be handled, as in a thread, as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def sigterm_raises():
    """SIGTERM raises `Terminated` in this process, once; processes forked from it end at once."""
    mine = os.getpid()

    def end(number, _frame):
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() == mine:
            raise Terminated
        os.kill(os.getpid(), number)

    return _handled(signal.SIGTERM, end)


def without_interrupts():
    """What starts here ignores Ctrl-C."""
    return _handled(signal.SIGINT, signal.SIG_IGN)


def lead_group() -> None:
    """Lead a process group, so that Ctrl-C is the runner's alone; end, all of it, when the runner does."""
    import multiprocessing
    from multiprocessing import connection

    if hasattr(os, "setsid"):
        os.setsid()
    runner = multiprocessing.parent_process()

    def watch():
        connection.wait([runner.sentinel])
        if hasattr(os, "killpg"):
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
