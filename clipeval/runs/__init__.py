"""Studies executed by papermill into a run folder: checked, run, compared with the run before, made into a site.

`plan_run` turns studies and a profile into parameters, `check_plan` says what would fail, `run_studies` runs them;
`load_run` reads a finished run, `compare_runs` sets several side by side and `write_comparison` reports it.
"""

from clipeval import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    profiles="list_profiles plan_run",
    check="check_plan",
    runner="run_studies",
    finished="load_run",
    compare="compare_runs",
    compare_report="write_comparison",
)
