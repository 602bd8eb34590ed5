"""The linear probe of the FairFace study: one fit a task, kept in the store."""

import pandas as pd

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

    def fit() -> pd.DataFrame:
        from clipeval.classify.probe import fit_probe

        parts, fits = [], []
        for task, labels in targets.items():
            model = fit_probe(fitted.matrix, labels, seed=p.seed)
            parts.append(model.predict(wanted.image_id, wanted.matrix, task=task, top=5))
            fits.append(
                {
                    "task": task,
                    "C": model.C,
                    "trained on": model.n_fit,
                    "held out for C": model.n_validation,
                    "accuracy there": float(model.validation["accuracy"].max()),
                    "notes": " ".join(model.notes),
                }
            )
        found = pd.concat(parts, ignore_index=True)
        found.attrs["fits"] = fits
        return found

    key = [fitted.matrix, wanted.matrix, *targets.values(), wanted.image_id, p.seed]
    return session.with_groups(session.remember("linear probe", key, fit))


def probe_fits(predictions: pd.DataFrame) -> pd.DataFrame:
    """How each probe was fitted: C, images, accuracy (percent) on held-out train, notes."""
    return pd.DataFrame(predictions.attrs.get("fits", []))
