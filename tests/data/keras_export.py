"""What ``keras.onnx`` was made with: Keras 3.15, TensorFlow 2.21 and tf2onnx 1.17, none of which the tests need.

A network of the layers that Keras's own applications are built from, its input NHWC, its batch norms with statistics.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers

SHAPE = (48, 64, 3)


def network() -> keras.Model:
    """Strided, depthwise, separable and dilated convolutions, crops and paddings, a residual and a concatenation."""
    image = layers.Input(SHAPE)
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    branch = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Add()([x, layers.Conv2D(8, 1)(layers.Activation("swish")(branch))])
    x = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 2), (0, 2)))(x))
    x = layers.SeparableConv2D(16, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(16, 3, dilation_rate=2, padding="same", activation="elu")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Concatenate()([x, layers.Conv2D(8, 1, activation="relu")(x)])
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(5, activation="softmax")(x))


def main() -> None:
    """Write the file beside this one."""
    keras.utils.set_random_seed(0)
    model, draw = network(), np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([20 * kernel, bias])  # probabilities that a patch moves
    signature = (tf.TensorSpec((None, *SHAPE), tf.float32, name="image"),)
    function = tf.function(lambda images: model(images, training=False), input_signature=signature)
    path = Path(__file__).with_name("keras.onnx")
    tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=str(path))


if __name__ == "__main__":
    main()
