"""Evaluate a trained run: python -m train.evaluate RUN"""
