"""Write a page of HTML that compares runs: python -m train.report RUN...

Start at `sections.py`, what the page shows. `figures.py` draws, `page.py` makes the HTML,
`__main__.py` is the command.
"""
