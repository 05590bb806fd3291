"""Check a data set before a long run: python -m train.check --config FILE"""
