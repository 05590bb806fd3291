"""Write an HTML page that compares runs: python -m train.report RUN...

Start at `sections.py`, the contents of the page. `figures.py` draws, `page.py` makes the HTML,
`__main__.py` is the command.
"""
