"""Write the pages that compare runs: python -m train.report RUN..."""
