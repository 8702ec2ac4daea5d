"""A dataset on one page of HTML: `phoenix-ray report`, and at the end of a run with `run.report`."""
