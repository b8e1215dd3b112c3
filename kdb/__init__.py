"""kdb: an embedded engine for occlusion-based explanations of convolutional networks."""
