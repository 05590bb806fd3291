"""Export a trained run: python -m train.export RUN"""
