"""The state of a module that others hold: what its forward can read and write, whether it changed, putting it back."""
