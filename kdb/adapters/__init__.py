"""What faces of other libraries share: a model as it is given to them, run by kdb's engine where that can be."""
