"""Convert the networks that are published for LiteRT only to ONNX, for machines with a GPU.

The converter, ``tf2onnx``, needs TensorFlow: it lives in an environment of its own (``requirements-convert.txt``), and
what it wrote is rewritten, compared with LiteRT and put into the directory of weights from here.
"""
