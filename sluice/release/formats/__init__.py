"""Other forms of released images, made from the de-identified files: `derive` is the door."""
