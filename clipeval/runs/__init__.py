"""Studies executed by papermill into a run folder: checked, run, compared with the run before, made into a site."""
