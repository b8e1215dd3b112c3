"""ONNX files as torch modules: what is read of a file, its operators in terms of torch, arithmetic of shapes.

The only importers of onnx.  :mod:`kdb.models.onnx_module` puts them together.
"""
