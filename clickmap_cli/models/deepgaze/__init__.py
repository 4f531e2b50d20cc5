"""DeepGaze IIE and III: backbones, the trained network, and the models of a benchmark."""
