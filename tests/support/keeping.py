"""A session that only keeps what views give it: tables and figures by id, with what captions are told."""

from types import SimpleNamespace


class Keeping:
    """`kept` holds what `table` and `figure` were given, `parameters` and other attributes what a view asks for."""

    comparable = False

    def __init__(self, groupings=(), **parameters):
        self.kept, self.groupings = {}, groupings
        self.parameters = SimpleNamespace(seed=0, confidence=0.95, **parameters)

    def tabulate(self, function, answers, **options):
        return function(answers, **options)

    def _keep(self, id, what, text, **how):
        assert (type(what).__name__, id) not in self.kept
        self.kept[type(what).__name__, id] = SimpleNamespace(what=what, text=text, **how)

    table = figure = _keep

    def tabled(self, id):
        return self.kept["DataFrame", id]

    def drawn(self, id):
        """The figure's table, and all that its function was told."""
        figure = self.kept["partial", id].what
        return figure.args[0], figure.keywords
