"""Run as a program: embed photos in processes that are killed many times, then let one finish.

    python kill_runs.py TABLE STORE MODEL SEED [KILLS [PROCESSES]]

MODEL is the folder of a checkpoint, or `numpy` for one that needs none. It is loaded once and every run
is a fork of this process, so that ten kills take seconds. A kill comes a random number of shards and a
random moment after the start; of several PROCESSES on one store, all are killed in that moment.
Prints one JSON line.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


def main(table, store, model, seed, wanted="10", processes="1"):
    import numpy as np
    import pandas as pd
    from stubs import Info, NumpyModel, OpenClipModel

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.store import Store

    if model == "numpy":
        loaded, workers, most = NumpyModel(), 0, 2
    else:
        import torch

        torch.set_num_threads(1)
        loaded, workers, most = OpenClipModel(model), 1, 4
    images = pd.read_parquet(table)
    chance, store = random.Random(int(seed)), Path(store)

    def embed():
        return embed_images(
            images,
            info=Info("e5" * 32),
            get_model=lambda: loaded,
            store=Store(store),
            batch_size=4,
            shard_size=8,
            workers=workers,
            progress=False,
        )

    def count() -> int:
        return len(list(store.rglob("*.parquet")))

    kills, shards = 0, []
    while kills < int(wanted):
        pids = []
        for _ in range(int(processes)):
            pid = os.fork()
            if pid == 0:
                embed()
                os._exit(0)
            pids.append(pid)
        goal = count() + chance.randrange(most)
        while (
            count() < goal
            and os.waitid(os.P_PID, pids[0], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        if not any(end == -signal.SIGKILL for end in ends):
            break  # all were done before they could be killed
        kills += ends.count(-signal.SIGKILL)
        shards.append(count())
    found = embed()
    np.save(store / "matrix.npy", found.matrix)
    print(json.dumps({"kills": kills, "shards": shards, "opened": found.opened}))


if __name__ == "__main__":
    main(*sys.argv[1:])
