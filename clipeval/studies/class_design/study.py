"""Class design: the same images and another class set (arXiv 2108.02818, Table 3)."""

from typing import ClassVar

import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import load_class_set, task_prompts, variants_in
from clipeval.errors import ParameterError
from clipeval.published.denigration import of_the_paper, published_rates
from clipeval.session import parameters
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.studies import label_noise
from clipeval.studies.class_design.candidates import candidate_classes
from clipeval.studies.class_design.card import CARD
from clipeval.studies.class_design.tables import (
    SOURCE,
    harmful,
    not_added,
    one_way,
    pair_of,
    sweep_words,
)
from clipeval.studies.denigration.tables import (
    combined,
    harm_categories,
    top_labels,
)
from clipeval.studies.outcomes import (
    by_groups,
    class_sets_then,
    counted_as,
    recorded_class_set,
)
from clipeval.studies.sentences import rate


class Parameters(label_noise.Parameters):
    """Parameters of the class design study."""

    class_sets: ClassVar = ("class_set", "other", "candidates")

    class_set: str = Field("denigration", description="class set to start from")
    other: str = Field("denigration:child", description="class set to compare it with")
    candidates: str = Field(
        "class_candidates", description="class set whose classes are added one at a time"
    )
    padding: parameters.Padding = parameters.PADDING
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of every interval")


class ClassDesign(Study):
    """Class design: the same images and another class set (arXiv 2108.02818, Table 3)."""

    id = "class_design"
    title = "Class design"
    notebook = "03_class_design"
    question = "How much does one more class change who is harmed?"
    figure = "by_age"
    Parameters = Parameters
    data_of_paper = "fairface"
    usual_groups = ("age", "race")
    deck = "fairface"
    card = CARD
    every_class = True
    varies = "denigration"

    def about(self, session) -> dict:
        """What captions say beside the usual: the other class set, and the candidates."""
        other, added = (
            load_class_set(getattr(session.parameters, k)) for k in ("other", "candidates")
        )
        return {"choices": (f"other {other.label}", f"candidates {added.label}")}

    def check(self, session) -> None:
        """Errors of `groupings_of`, `noise_of`, `harm_categories` and `candidate_classes`.

        Raises
        ------
        ParameterError  if both class sets are the same, or the second is the usual one of another set
        """
        _ = session.groupings
        label_noise.noise_of(session)
        pair = pair_of(session)
        if pair[0].spec == pair[1].spec:
            raise ParameterError(
                f"class_set and other are both {pair[0].spec}; name two class sets to compare, by "
                "different names."
            )
        usual = session.parameters.other == type(session.parameters).model_fields["other"].default
        if usual and pair[0].name != pair[1].name and not of_the_paper(pair[0]):
            own = ", ".join(variants_in(session.parameters.class_set)[1:])
            raise ParameterError(
                f"class_set is {pair[0].spec} and other is the paper's {pair[1].spec}, whose words are others; name in "
                f"other the class set to compare with{f', such as {own}' if own else ''}."
            )
        for class_set in pair:
            harm_categories(class_set)
            class_set.counted_task()
        candidate_classes(session.parameters.candidates, session.class_set)

    def rivals(self, session) -> list[tuple[str, dict]]:
        """Each class set, and the first one with each candidate of the sweep."""
        pair = [
            offer
            for words in pair_of(session)
            for offer in task_prompts(words, session.templates, [words.counted_task()])
        ]
        _, prompts, added = sweep_words(session)
        name = "class set with a candidate"
        return pair + [(name, prompts | {label: texts}) for label, texts in added.items()]

    def left_out(self, session) -> list[str]:
        """Also candidates that answers made elsewhere do not answer."""
        return [*super().left_out(session), *not_added(session)]

    def predict(self, session) -> pd.DataFrame:
        """Zero-shot predictions of both class sets on the same embeddings."""
        pair = pair_of(session)
        parts = [session.classify(class_set=class_set, top=5) for class_set in pair]
        predictions = pd.concat(parts, ignore_index=True)
        for column in ("task", "method", "class_set", "templates", "label"):
            predictions[column] = predictions[column].astype("category")
        return predictions

    def finding(self, tables) -> list[str]:
        """Harm with either class set, and the change on the same images."""
        first, second, change = (row for _, row in tables["overall"][-3:].iterrows())
        return [
            f"Calls {rate(first)} of photographs {first['metric']} with the classes {first['class_set']}, "
            f"{rate(second)} with {second['class_set']}: a change of {rate(change, 'points')} on the same ones."
        ]

    def methods(self, record: StudyRecord) -> list[str]:
        """Also what is counted, how changes are paired, and whether they are tested."""
        found, pair = super().methods(record), class_sets_then(record, "class_set", "other")
        found += [counted_as(words) for words in pair]
        found.append(
            "Both class sets were offered for the same images, by which changes are paired."
        )
        if len(pair) > 1:
            found.append(
                "As one set only adds harmless classes to the other, changes have one direction and were not tested."
                if one_way(*pair)
                else "Changes were tested by McNemar's test, p values corrected by Holm's method within a table."
            )
        if "sweep" in {table.id for table in record.tables}:
            found.append("Candidate classes were added one at a time.")
        return found

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Images in any harm category under either class set, by group; see `clipeval.studies.headlines`."""
        parts = []
        for name in ("class_set", "other"):
            class_set = recorded_class_set(record, name)
            top = by_groups(top_labels(predictions, class_set), predictions, self, record, "age")
            quantity = f"{combined(class_set.categories)}, classes {class_set.spec}"
            parts.append(top.assign(quantity=quantity, hit=harmful(top["label"], class_set)))
        return pd.concat(parts)[["image_id", "quantity", "images_of", "task", "hit"]]

    def comparable(self, values) -> bool:
        """Also one of the class sets must be one that words the paper's classes."""
        named = (values.get(name, "denigration") for name in ("class_set", "other"))
        return super().comparable(values) and any(of_the_paper(load_class_set(n)) for n in named)

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Table 3 of arXiv 2108.02818, for the class sets that it used."""
        parts = []
        for name in ("class_set", "other"):
            class_set = recorded_class_set(record, name)
            known = published_rates(["age"], class_set).rename(columns={"age": "images_of"})
            parts.append(known.assign(quantity=known["metric"] + f", classes {class_set.spec}"))
        return pd.concat(parts).assign(model="CLIP ViT-L/14", source=SOURCE)

    def counterpart(self, record: StudyRecord) -> str:
        """The one model of the paper."""
        return "CLIP ViT-L/14"


study = ClassDesign()
