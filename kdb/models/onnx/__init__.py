"""Reads ONNX files and translates their operators into PyTorch's; :mod:`kdb.models.onnx_module` makes modules of them.

Only this package imports onnx.
"""
