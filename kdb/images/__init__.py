"""Any image to float32 pixels, and onto the grid of a model."""
