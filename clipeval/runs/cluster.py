"""Embedding in parts, on several machines or GPUs that share a store: Slurm arrays, Ray."""

import os
import re
from collections.abc import Sequence

from clipeval.embedding.embed import embed_part
from clipeval.errors import ParameterError, StoreError, first_line
from clipeval.session.parameters import Parameters
from clipeval.studies import VARIABLE, get_study, start


def parse_part(text: str) -> tuple[int, int]:
    """(I, N) of "I/N".

    Raises
    ------
    ParameterError  if it is not that, or I is not from 1 to N
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise ParameterError(f"--part {text} is not a part; write I/N with I from 1 to N, as 3/8.")
    return i, n


def embed_parts(study: str, parameters: Parameters, part: tuple[int, int], progress=True) -> int:
    """Embed part I of N of the images that a study reads; returns how many were encoded."""
    session = start(study, parameters, progress=progress)
    if not session.source.may_embed:
        raise ParameterError(
            f"{study} reads a pack, which holds its embeddings; leave out --part or --ray."
        )
    return sum(
        embed_part(images, part, **session.source.options(features))
        for images, features in session.study.embeds(session)
    )


def embed_plan(plan: dict[str, Parameters], part: tuple[int, int]) -> dict[str, int]:
    """Embed part I of N of the images of one study after the other, so that what two of them read is encoded once.

    Parameters
    ----------
    plan : study to its parameters, of one model; studies made of others' tables are left out

    Returns
    -------
    dict of study to images encoded
    """
    return {
        study: embed_parts(study, parameters, part, False)
        for study, parameters in plan.items()
        if not get_study(study).is_summary
    }


def embed_by_ray(plans: Sequence[dict[str, Parameters]]) -> list[dict[str, int]]:
    """Embed the images of every study of every model as tasks of a Ray cluster, all at once, one a GPU or else a CPU.

    A task is part I of N of all that the studies of one model read (`embed_plan`). The cluster is that of RAY_ADDRESS,
    or is started on this machine. Its nodes need the same data, models and store: at the same paths, or at addresses
    (s3://...). A task whose process dies is started again, up to three times, and goes on from what is stored.

    Parameters
    ----------
    plans : study to its parameters, for each model

    Returns
    -------
    for each plan, dict of study to images encoded by the tasks that ended

    Raises
    ------
    ParameterError  if ray is not installed
    StoreError  if Ray cannot be started, or a task was lost again and again; what is stored is kept
    """
    from tqdm.auto import trange

    try:
        import ray
    except ImportError:
        raise ParameterError(
            '--ray needs ray, which is not installed; pip install "clipeval[ray]", or start jobs '
            "of your own with --part I/N."
        ) from None
    # where things are, and no secrets, which Ray would show: these belong to each node
    names = ("CLIPEVAL_CACHE", VARIABLE, "HF_HOME", "HF_HUB_OFFLINE", "PYTHONPATH")
    names += ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")
    told = {name: os.environ[name] for name in names if name in os.environ}
    how = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    for last in (False, True):
        try:
            ray.init(runtime_env={"env_vars": told}, **how)
            break
        except Exception as error:  # Ray raises what its parts happen to raise
            ray.shutdown()
            if not last and "timed out" in str(error):  # it waits 30 s, which no setting raises
                continue
            raise StoreError(
                f"Ray could not be started ({first_line(error)}), and nothing was embedded; repeat the command when "
                "the machine is less busy, or start a node yourself (ray start --head) and repeat it then."
            ) from None
    try:
        held = ray.cluster_resources()
        gpus = int(held.get("GPU", 0))
        n = gpus or max(1, int(held.get("CPU", 1)))
        task = ray.remote(num_gpus=1 if gpus else 0, num_cpus=1, max_retries=3)(embed_plan)
        running = [[task.remote(plan, (i, n)) for i in range(1, n + 1)] for plan in plans]
        every = [part for parts in running for part in parts]
        for ended in trange(len(every), desc="embedding", unit=" tasks", disable=None):
            ray.wait(every, num_returns=ended + 1)
        found = [ray.get(parts) for parts in running]
        return [{study: sum(one[study] for one in parts) for study in parts[0]} for parts in found]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise StoreError(
            f"a task of the cluster was lost ({first_line(error)}); what is stored is kept: repeat the command, which "
            "goes on from there."
        ) from None
    finally:
        ray.shutdown()
