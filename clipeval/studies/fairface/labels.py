"""Which tasks of the class set can be held against the images' labels, and by which methods."""

from clipeval.classify.class_sets import prompts_for
from clipeval.datasets import dataset_options
from clipeval.errors import ClassSetError, DataError


def _sorted_out(session) -> tuple[list[str], list[str]]:
    """Tasks that images are labelled by, and a sentence for each other one."""
    images, class_set = session.images, session.class_set
    name, why = images.attrs["name"], images.attrs.get("not_groups", {})
    kept, left_out = [], []
    for task in class_set.tasks:
        if task == "race_binary":
            continue
        if task not in images.attrs["groups"]:
            reason = why.get(task) or f"{name} has no group column of that name"
            left_out.append(f"Task {task} is not asked: {reason}.")
            continue
        classes, labels = class_set.classes(task), [str(v) for v in images[task].unique()]
        strange = [label for label in labels if label not in classes]
        some = 0 < len(strange) < len(labels)
        # labels of the user's own are likely misspelt; those of a data set are what its makers chose
        if some and "columns" in dataset_options(session.parameters.dataset):
            raise DataError(
                f'{name}: {task} "{strange[0]}" is not a class of {class_set.spec}, which has '
                f"{', '.join(classes)}; name them alike."
            )
        if strange:
            such = f'label "{strange[0]}" of {name} is none'
            if not some:
                such = f'no label of {name}, such as "{strange[0]}", is one'
            left_out.append(
                f"Task {task} is not asked: {such} of its classes in {class_set.spec} ({', '.join(classes)})."
            )
        else:
            kept.append(task)
    if not kept:
        have = ", ".join(images.attrs["groups"])
        mend = (
            f"its group columns are {have}: give class_set a file with a task of the name of one of them, "
            "and its values as classes."
            if have
            else "it has no group columns: give a table with a column of the name of a task."
        )
        raise DataError(
            f"{name} has labels for no task of class set {class_set.spec} "
            f"({', '.join(class_set.tasks)}); {left_out[0].removesuffix('.')}; {mend}"
        )
    return kept, left_out


def labelled_tasks(session) -> list[str]:
    """Tasks of the class set that images are labelled by: a group column has the task's name, its values are classes.

    Raises
    ------
    DataError  if there is none, or some labels of a task are classes and others are not in a table of the
        user's own
    """
    return _sorted_out(session)[0]


def tasks_left_out(session) -> list[str]:
    """A sentence for each task that images are not labelled by, and for a probe that nothing can be fitted on."""
    p, left_out = session.parameters, _sorted_out(session)[1]
    if p.methods == "both" and not probes(p):
        why = f"data set {p.dataset} has no train split"
        why = "answers made elsewhere hold no image features" if p.scores else why
        left_out.append(f"No linear probe is fitted: {why}.")
    return left_out


def probes(parameters) -> bool:
    """Whether a linear probe is fitted: it was asked for, or the data set has a train split and a model sees it."""
    if parameters.methods == "both":
        return not parameters.scores and "split" in dataset_options(parameters.dataset)
    return parameters.methods == "linear probe"


def zero_shot_tasks(session) -> list[str]:
    """Tasks whose classes are put to the model, or answered from elsewhere; errors as in `labelled_tasks`."""
    if session.parameters.methods == "linear probe":
        return []
    return _answered(session, _with_binary(session, labelled_tasks(session)))


def named_tasks(session, *, all: bool = False) -> list[str]:
    """`zero_shot_tasks` by their names alone, whatever the labels are: for checks of the words.

    Parameters
    ----------
    all : also those that answers made elsewhere do not answer
    """
    if session.parameters.methods == "linear probe":
        return []
    groups = session.images.attrs["groups"]
    tasks = _with_binary(session, [task for task in session.class_set.tasks if task in groups])
    return tasks if all else _answered(session, tasks)


def _with_binary(session, tasks: list[str]) -> list[str]:
    binary = session.parameters.race_rule == "binary" and "race" in tasks
    return [*tasks, *(["race_binary"] if binary else [])]


def _answered(session, tasks: list[str]) -> list[str]:
    """Tasks whose classes can be answered; a model answers all.

    Raises
    ------
    ClassSetError  if words are to be put and none of them can
    """
    words = session.class_set
    offers = {task: prompts_for(words, session.templates, task) for task in tasks}
    found = [task for task, prompts in offers.items() if session.source.answers(prompts)]
    if tasks and not found:
        raise ClassSetError(
            f"there are no answers for any task of {words.spec} ({', '.join(tasks)}); say under "
            "`answers:` of the class set what the answers mean, or name another class set."
        )
    return found
