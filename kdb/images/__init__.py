"""Reads images of any kind as float32 pixels, and resizes and normalises them for a model."""
