"""The analyses of a trained run, a file for each; `train.analyze` writes what they give."""
