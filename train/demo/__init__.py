"""Write a page that runs a compiled network in a browser: python -m train.demo RUN --out page.html

Start at `encode.py`, which writes a program's integers as JSON, and at `interpreter.js`, which runs
them; `page.py` joins both with the drawing field, and `__main__.py` is the command.
"""
