"""What a notebook cell talks to: the contract of a study, its parameters, its inputs and what it records.

A study is a subclass of `Study` (or of `Summary`, where it is made of other studies' tables) with `Parameters` of its
own; a `Session` is one of its runs. `read_study` and `read_run` read the records that a session leaves.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    study="Study Summary",
    parameters="Parameters",
    session="Session",
    record="StudyRecord RunRecord read_study read_run",
)
