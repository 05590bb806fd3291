"""Count the dialect in code, docs and tests: words, docstrings that name a thing, British spelling.

docs/theory/decisions.md says why. Run it with `make lint`, or alone as
`python scripts/check_language.py`; it lists each hit with its file and line. CHANGELOG.md is not
read, since it quotes old names, nor is this file.
"""

import ast
import io
import re
import signal
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Each of these may occur this often in the whole tree, since all of them have good uses too.
MOST_OF_A_PHRASE = 10
PHRASES = (
    "anew",
    "so many",
    "beside",
    "behind",
    "mended",
    "what lacks",
    "is no number",
    "that of",
    "go(?:es)? on",
    "(?:is|are|was|were) told",
    "tells? of",
    "left out",
    "stands elsewhere",
)
# The share of docstrings of functions and methods that may begin with a noun phrase.
MOST_NOUN_PHRASES = 0.2
# Words that begin a noun phrase or a clause, and never an imperative.
NOUN_STARTS = set(
    "a all an and any as at both each either every for from how if in it its neither no nobody "
    "none not nothing of on one only our some such that the their there these they this those to "
    "two three four five what when where whether which who whose why with without".split()
)
BRITISH = re.compile(
    r"colour|behaviour|favour|flavour|neighbour|honour|centre|grey|artefact|catalogue|licence"
    r"|(?:label|model|cancel|travel)l(?:ed|er|ing)|analys(?:e(?!s)|ing)"
    r"|(?:author|categor|character|discret|emphas|equal|factor|final|general|initial|local|material"
    r"|maxim|minim|normal|optim|organ|parallel|parametr|penal|quant|random|real|recogn|regular"
    r"|serial|special|stabil|standard|summar|synchron|token|util|vector|visual)"
    r"is(?:e|ed|er|ers|es|ing|ation|ations)(?![a-z])",
    re.IGNORECASE,
)
SUFFIXES = {f".{suffix}" for suffix in "cff css html js md py sbatch sh toml yaml yml".split()}
UNREAD = {"CHANGELOG.md", "scripts/check_language.py"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Hit = tuple[int, str]


def find_phrases(text: str) -> dict[str, list[Hit]]:
    """Return the lines of `text` in which each phrase of the dialect occurs.

    A phrase may be broken by a line end, with or without a comment sign, and joined by underscores
    in an identifier.
    """
    # Of the same length, so that positions stay those of the text.
    spaced = text.replace("_", " ").replace("\n# ", "\n  ")
    found: dict[str, list[Hit]] = {}
    for phrase in PHRASES:
        pattern = rf"\b{phrase}\b".replace(" ", r"\s+")
        for match in re.finditer(pattern, spaced, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.setdefault(phrase, []).append((line, " ".join(match[0].split())))
    return found


def find_noun_docstrings(source: str) -> tuple[list[Hit], int]:
    """Return the docstrings of functions that begin with a noun phrase, and the number of all.

    Properties are not counted: their docstrings say what they are.
    """
    found, num_docstrings = [], 0
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, FUNCTIONS) or any(map(_is_property, node.decorator_list)):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None:
            continue
        num_docstrings += 1
        first = docstring.split()[0] if docstring.split() else ""
        if first.rstrip(",.:;").lower() in NOUN_STARTS or not first[:1].isalpha():
            found.append((node.lineno, f"{node.name}: {docstring.splitlines()[0]}"))
    return found, num_docstrings


def find_british_names(source: str) -> list[Hit]:
    """Return the identifiers of `source` that are spelled in British English."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    names = ((token.start[0], token.string) for token in tokens if token.type == tokenize.NAME)
    return [(line, name) for line, name in names if BRITISH.search(name)]


def _is_property(decorator: ast.expr) -> bool:
    name = ast.unparse(decorator).rpartition(".")[2]
    return name in ("property", "cached_property", "setter")


def list_files() -> Iterator[Path]:
    """Yield the tracked text files that are checked."""
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        path = Path(name)
        known = path.suffix in SUFFIXES or path.name in ("Makefile", "run")
        if name and name not in UNREAD and known and path.is_file():
            yield path


def main() -> int:
    """Print all hits and return 1 if there are more than allowed."""
    phrases: dict[str, list[str]] = {phrase: [] for phrase in PHRASES}
    nouns, british, num_docstrings = [], [], 0
    for path in list_files():
        text = path.read_text(encoding="utf-8")
        for phrase, hits in find_phrases(text).items():
            phrases[phrase] += [f"{path}:{line}: {words}" for line, words in hits]
        if path.suffix == ".py":
            found, counted = find_noun_docstrings(text)
            num_docstrings += counted
            nouns += [f"{path}:{line}: {start}" for line, start in found]
            british += [f"{path}:{line}: {name}" for line, name in find_british_names(text)]
    for hit in [*(hit for hits in phrases.values() for hit in hits), *nouns, *british]:
        print(hit)
    faults = [
        f"{phrase!r} occurs {len(hits)} times; at most {MOST_OF_A_PHRASE} are allowed."
        for phrase, hits in phrases.items()
        if len(hits) > MOST_OF_A_PHRASE
    ]
    share = len(nouns) / max(num_docstrings, 1)
    if share > MOST_NOUN_PHRASES:
        faults.append(
            f"{share:.0%} of {num_docstrings} docstrings of functions begin with a noun phrase; "
            f"at most {MOST_NOUN_PHRASES:.0%} may. Begin with a verb, such as Return."
        )
    if british:
        faults.append(f"{len(british)} identifiers are spelled in British English; none may be.")
    print(
        f"{sum(map(len, phrases.values()))} phrases, {share:.1%} of {num_docstrings} docstrings "
        f"and {len(british)} names to reword"
    )
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without an error.
    sys.exit(main())
