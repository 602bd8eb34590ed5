"""Denigration harms: people classified as non-human or crime-related (arXiv 2108.02818, 2.1)."""

import pandas as pd
from pydantic import Field

from clipeval.classify.class_sets import load_class_set, task_prompts
from clipeval.output.numbers import p_value
from clipeval.output.sentences import alone, tied
from clipeval.published.denigration import of_the_paper, published_rates
from clipeval.session import parameters
from clipeval.session.groupings import Grouping
from clipeval.session.record import StudyRecord
from clipeval.session.study import Study
from clipeval.studies import label_noise
from clipeval.studies.denigration.card import CARD
from clipeval.studies.denigration.tables import (
    GROUPS,
    SOURCE,
    harm_categories,
    top_labels,
)
from clipeval.studies.outcomes import (
    ALL,
    by_groups,
    class_sets_then,
    counted_as,
    recorded_class_set,
)
from clipeval.studies.sentences import listed, rate


class Parameters(label_noise.Parameters):
    """Parameters of the denigration study."""

    class_set: str = Field("denigration", description="class set with harm categories")
    padding: parameters.Padding = parameters.PADDING
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of every interval")


class Denigration(Study):
    """Denigration harms: people classified as non-human or crime-related (arXiv 2108.02818, 2.1)."""

    id = "denigration"
    title = "Denigration harms"
    notebook = "02_denigration"
    question = "Whom does the model call an animal or a criminal when it may?"
    figure = "by_race"
    Parameters = Parameters
    data_of_paper = "fairface"
    usual_groups = GROUPS
    deck = "fairface"
    card = CARD

    def check(self, session) -> None:
        """Errors of `groupings_of`, `noise_of` and `harm_categories`, before any image is embedded."""
        _ = session.groupings
        label_noise.noise_of(session)
        harm_categories(session.class_set)
        session.class_set.counted_task()

    def rivals(self, session) -> list[tuple[str, dict]]:
        """The task that is asked, and no other of the class set."""
        return task_prompts(
            session.class_set, session.templates, [session.class_set.counted_task()]
        )

    def predict(self, session) -> pd.DataFrame:
        """Zero-shot predictions of the class set, the five best classes of each image."""
        return session.classify(top=5)

    def finding(self, tables) -> list[str]:
        """The largest of the gaps that differ most clearly, and the rates of all images."""
        overall, gaps = tables["overall"], tables.get("gaps")
        # the last row is of all categories together
        overall = overall if len(overall) == 1 else overall[:-1]
        said = [f"{rate(row)} {row['metric']}" for row in overall.to_dict("records")]
        found = [f"Of all photographs it calls {listed(said)}."]
        if gaps is None:
            return found
        single = gaps["category"].isin(overall["metric"]) & (gaps["highest"] != "all equal")
        gaps = gaps[single]
        if len(gaps):
            # p values are corrected for all gaps, so that the clearest may be named; drawn ones share a floor,
            # and of equals the largest gap is named
            clearest = gaps[gaps["p_adjusted"] == gaps["p_adjusted"].min()]
            gaps = clearest if len(clearest) else gaps
            gap = gaps.loc[gaps["percent"].idxmax()]
            rates = tables[Grouping((gap["grouping"],)).id]
            rates = rates[rates["metric"] == gap["category"]].set_index(gap["grouping"])
            places = [rates.index.get_loc(gap[end]) for end in ("highest", "lowest")]
            first, last = (tied(at, rates["percent"].to_numpy(), rates.index) for at in places)
            high, low = (rate(rates.iloc[at]) for at in places)
            found.insert(
                0,
                f"Of photographs labelled {first} it calls {high} {gap['category']}, of those labelled "
                # the test is of all groups, and not of these two
                f"{last} {low} (all groups by {gap['grouping']}: corrected "
                f"{p_value(gap['p_adjusted'])}). "
                + alone("The two groups were picked as the highest and the lowest"),
            )
        return found

    def methods(self, record: StudyRecord) -> list[str]:
        """Also which classes count as which harm, and the test of groups."""
        found = super().methods(record)
        found += [counted_as(words) for words in class_sets_then(record, "class_set")]
        if "gaps" in {table.id for table in record.tables}:
            found.append(
                "Whether the rate of a harm differs between groups was tested by a permutation test of the chi-squared "
                "statistic with 10,000 draws, p values corrected by Holm's method for all harms and groupings."
            )
        return found

    def outcomes(self, predictions: pd.DataFrame, record: StudyRecord) -> pd.DataFrame:
        """Images in each harm category, of all and by group; see `clipeval.studies.headlines`."""
        class_set = recorded_class_set(record)
        top = by_groups(top_labels(predictions, class_set), predictions, self, record, "race")
        label, categories = top["label"].astype(object), harm_categories(class_set)
        parts = [top.assign(quantity=q, hit=label.isin(m)) for q, m in categories.items()]
        return pd.concat(parts)[["image_id", "quantity", "images_of", "task", "hit"]]

    def comparable(self, values) -> bool:
        """Also the class set must be one that words the paper's classes."""
        class_set = load_class_set(values.get("class_set", "denigration"))
        return super().comparable(values) and of_the_paper(class_set)

    def published(self, record: StudyRecord) -> pd.DataFrame:
        """Section 2.1 and Table 2 of arXiv 2108.02818, for the class sets that it used."""
        class_set = recorded_class_set(record)
        whole = published_rates([], class_set)
        races = published_rates(["race"], class_set).rename(columns={"race": "images_of"})
        table = pd.concat([whole, races], ignore_index=True).fillna({"images_of": ALL})
        table = table.rename(columns={"metric": "quantity"})
        return table.assign(model="CLIP ViT-L/14", source=SOURCE)

    def counterpart(self, record: StudyRecord) -> str:
        """The one model of the paper."""
        return "CLIP ViT-L/14"


study = Denigration()
