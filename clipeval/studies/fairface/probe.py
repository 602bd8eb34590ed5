"""The linear probe of the FairFace study: one fit a task, kept in the store."""

import numpy as np
import pandas as pd

from clipeval.files import sha256
from clipeval.studies.fairface.labels import labelled_tasks
from clipeval.studies.fairface.tables import white


def probe(session, train: pd.DataFrame, fitted) -> pd.DataFrame:
    """Linear-probe predictions: trained on the labels of the train split, for the session's images.

    The fits (C, accuracy on held-out train, notes) are in `attrs["fits"]`. They are kept in the store.
    """
    p = session.parameters
    wanted = session.embed(session.images, p.probe_features)
    people = train.set_index("image_id").loc[fitted.image_id]
    targets = {task: people[task].astype(str).to_numpy() for task in labelled_tasks(session)}
    if p.probe_race_rule == "binary" and "race" in targets:
        targets["race_binary"] = white(people["race"])

    trained_on = sha256(np.ascontiguousarray(fitted.matrix).data)  # once, and not for every fit

    def fit() -> pd.DataFrame:
        from clipeval.classify.probe import fit_probe
        from clipeval.models.device import choose_device

        parts, fits = [], []
        device = "cpu" if p.solver == "scikit-learn" else choose_device(p.device)
        for task, labels in targets.items():

            def keep(what, compute, labels=labels) -> pd.DataFrame:
                return session.remember("one C of a probe", [trained_on, labels, what], compute)

            title = f"linear probe, {task}" if session.progress else ""
            how = {"solver": p.solver, "device": device, "progress": title, "keep": keep}
            model = fit_probe(fitted.matrix, labels, seed=p.seed, **how)
            parts.append(model.predict(wanted.image_id, wanted.matrix, task=task, top=5))
            fits.append(
                {
                    "task": task,
                    "C": model.C,
                    "trained on": model.n_fit,
                    "held out for C": model.n_validation,
                    "accuracy there": float(model.validation["accuracy"].max()),
                    "solver": model.solver,
                    "iterations": model.fit.iterations,
                    "gradient": f"{model.fit.gradient:.1e}",
                    "notes": " ".join(model.notes),
                }
            )
        found = pd.concat(parts, ignore_index=True)
        found.attrs["fits"] = fits
        return found

    key = [trained_on, wanted.matrix, *targets.values(), wanted.image_id, p.seed, p.solver]
    found = session.with_groups(session.remember("linear probe", key, fit))
    if twice := len(session.embed(session.train, p.probe_features)) - len(fitted):
        are = "image was" if twice == 1 else "images were"
        said = f"{twice:,} {are} left out of the train split, which are also among those counted."
        found.attrs["fits"] = [
            fit | {"notes": " ".join(filter(None, [fit["notes"], said]))}
            for fit in found.attrs["fits"]
        ]
    return found


def probe_fits(predictions: pd.DataFrame) -> pd.DataFrame:
    """How each probe was fitted.

    Returns
    -------
    DataFrame, one row a task: C, images, accuracy (percent) on held-out train, solver, its iterations,
    norm of the gradient where it stopped, notes
    """
    return pd.DataFrame(predictions.attrs.get("fits", []))
