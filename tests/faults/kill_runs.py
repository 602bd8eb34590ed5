"""Run as a program: embed photos in a process that is killed ten times, then let it finish.

    python kill_runs.py TABLE STORE MODEL SEED

The model is loaded once and every run is a fork of this process, so that ten kills take seconds.
A kill comes a random number of shards and a random moment after the start. Prints one JSON line.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path


def main(table, store, model, seed):
    import numpy as np
    import pandas as pd
    import torch
    from stubs import Info, OpenClipModel

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.store import Store

    torch.set_num_threads(1)
    loaded, images = OpenClipModel(model), pd.read_parquet(table)
    chance, store = random.Random(int(seed)), Path(store)

    def embed():
        return embed_images(
            images,
            info=Info("e5" * 32),
            get_model=lambda: loaded,
            store=Store(store),
            batch_size=4,
            shard_size=8,
            workers=1,
            progress=False,
        )

    kills, shards = 0, []
    while kills < 10:
        pid = os.fork()
        if pid == 0:
            embed()
            os._exit(0)
        goal = len(list(store.rglob("*.parquet"))) + chance.randrange(4)
        while (
            len(list(store.rglob("*.parquet"))) < goal
            and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL:
            kills += 1
        else:
            break  # it was done before it could be killed
        shards.append(len(list(store.rglob("*.parquet"))))
    found = embed()
    np.save(store / "matrix.npy", found.matrix)
    print(json.dumps({"kills": kills, "shards": shards, "opened": found.opened}))


if __name__ == "__main__":
    main(*sys.argv[1:])
