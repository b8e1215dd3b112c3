"""What people look at: a page of a run, and a run in FiftyOne."""
