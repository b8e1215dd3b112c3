"""What statements do: the session, the study file it keeps, and kdb.occlude()."""
