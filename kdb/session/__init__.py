"""Sessions: what each statement does, the study file, and kdb.occlude()."""
