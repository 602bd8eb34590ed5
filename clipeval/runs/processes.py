"""How processes are started, from one that has everything loaded where the system can fork.

Nothing heavy is imported here, so that the other process loads its libraries while this one loads its own.
"""

import multiprocessing
import os

from clipeval.runs.signals import without_interrupts


def process_context(jobs: int = 0):
    """How processes are started; where they are forked, the one they are forked from starts now, if it has not."""
    jobs = jobs or os.cpu_count() or 1
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clipeval.runs.preload"])
    threads = "OMP_NUM_THREADS"
    given = os.environ.get(threads)
    # read once, when numpy is loaded there; this process keeps all its threads for embedding
    os.environ[threads] = given or str(max(1, (os.cpu_count() or 1) // jobs))
    try:
        with without_interrupts():  # Ctrl-C is for this process, which ends the other
            forkserver.ensure_running()
    finally:
        if given is None:
            del os.environ[threads]
    return context
