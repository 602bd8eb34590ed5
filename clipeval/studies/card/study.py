"""The characterization card: one page a model, drawn from the tables of a run's studies."""

from clipeval.session import parameters
from clipeval.session.study import Summary
from clipeval.studies.card.tables import not_measured, published_outside


class Parameters(parameters.Parameters):
    """Parameters of the card: it reads the run folder `out`, and knows the others to be run like any study."""


class Card(Summary):
    """The characterization card: one page a model, drawn from the tables of a run's studies."""

    id = "card"
    title = "Characterization card"
    notebook = "07_card"
    question = "What do all the studies say of this model, on one page?"
    figure = "card_gaps"
    Parameters = Parameters

    def methods(self, record) -> list[str]:
        """Where its numbers are from, and how those that were picked are widened."""
        return [
            "The rows of the characterization card are those of the other studies; where one was picked as the highest "
            "or the lowest of several, its interval is Clopper and Pearson's, Bonferroni-corrected for their number."
        ]

    def finding(self, tables) -> list[str]:
        """How many published values lie outside, and what was not measured."""
        table = tables["card"]
        return [text for text in (published_outside(table), not_measured(table)) if text]


study = Card()
