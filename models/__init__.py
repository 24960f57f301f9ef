"""What the pixels show: preprocessing, networks, training, evaluation, weights."""
