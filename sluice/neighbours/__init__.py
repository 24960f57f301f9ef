"""Films that look alike, by the features of the body-part network: the same film twice, labels that cannot be right."""
