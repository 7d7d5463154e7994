# SPDX-License-Identifier: MIT
"""Takes the sentences out of comments, Markdown and manual pages, for the check `sentences` of lint.py."""
import inspect
import re

WORDS_MAX = 25
COLUMN = 8  # lines that begin so deep go on in the second column of a list

# A sentence ends at . ! or ? before a blank, and a capital, a number, or the name of a function, file or errno.
SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)(?<=[.!?])[\"')\]*_]*\s+(?=[\"'(*`_\[\\]*(?:-?[A-Z0-9]|-+\w|\w+[:./_(*]))")
WORD = re.compile(r"[A-Za-z0-9]")
COMMENT = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", flags=re.S)
BLOCK = re.compile(r"(?:^[ \t]*#(?!!).*(?:\n|\Z))+", flags=re.M)
DOCSTRING = re.compile(r"\"\"\"(.*?)\"\"\"", flags=re.S)
TERM = re.compile(r"\*|\s*(?:\*-|[*_][\w=]+[*_](?:$|  ))")  # of a manual page: what the next lines explain
ERROR = re.compile(r"(?:-E[A-Z0-9]+(?:, )?)+ {2,}(?=\S)")  # of a header, with its cause in a second column
ITEM = re.compile(r"(?:[-*+]|\d+[.)]|[A-Z]\d|[A-Z]\d?[.):]|-E[A-Z0-9]+,?|HF_\w+)\s")


def is_picture(line):
    """A line of a table, a formula or a picture: it has columns, or signs between its words."""
    return bool(re.search(r"\S {3,}\S|\|.*\||--+>|<--|==|&&|\t", line.strip()))


def grouped(lines):
    """(line, words) of each paragraph of numbered lines; lines that stand apart (indented, columns) are ends.

    The lines of an item after its first may stand deeper; those of an error, in the column of its cause.
    """
    begin, words, depth, hangs, column = 0, [], None, False, COLUMN
    for number, line in lines:
        indent = len(line) - len(line.lstrip())
        body = line.strip().removeprefix("*").strip()
        error = ERROR.match(body)
        apart = not error and is_picture(body)
        item = ITEM.match(body)
        goes_on = depth is None or indent == depth or hangs and indent > depth
        if (not body or apart or item or not goes_on) and words:
            yield begin, " ".join(words)
            words = []
        if error:
            column = 80
        elif not goes_on or item:
            column = COLUMN
        if body and not apart and indent < column:
            if not words:
                begin = number
            words.append(body)
        depth = indent if body else None
        hangs = bool(item)
    if words:
        yield begin, " ".join(words)


def c_paragraphs(text):
    """(line, words) of each paragraph in a comment of C, C++ or Promela."""
    for match in COMMENT.finditer(text):
        if match.group(0)[0] == "/":
            number = text.count("\n", 0, match.start()) + 1
            lines = match.group(0)[2:-2].split("\n")
            yield from grouped((number + at, re.sub(r"^\s*\*", "", line) if at else line) for at, line in enumerate(lines))


def script_paragraphs(text):
    """(line, words) of each paragraph in lines that begin with #, and in the docstrings of Python."""
    for match in BLOCK.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        lines = re.sub(r"^[ \t]*#(?: SPDX.*)?", "", match.group(0), flags=re.M).split("\n")
        yield from grouped((number + at, line) for at, line in enumerate(lines))
    for match in DOCSTRING.finditer(text):
        number = text.count("\n", 0, match.start()) + 1
        lines = inspect.cleandoc(match.group(1)).split("\n")
        yield from grouped((number + at, line) for at, line in enumerate(lines))


def prose_paragraphs(text, manual):
    """(line, words) of each paragraph, list item and cell of a table; of a manual page without its tables."""
    begin, words, literal, depth = 1, [], False, 0

    def flush():
        nonlocal words
        if words:
            yield begin, " ".join(words)
        words = []

    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            literal = not literal
            yield from flush()
            continue
        if literal:
            continue
        stripped = line.strip()
        if (not stripped or stripped.startswith(("#", "![", "<!--", "/*", "; "))
                or line.startswith("    ") and not words):
            yield from flush()
            continue
        if stripped.startswith("|") and not manual:
            yield from flush()
            yield from ((number, cell) for cell in stripped.strip("|").split("|"))
            continue
        if stripped.startswith("|") or (manual and re.match(r"[\[|\]:][-<=>\[|\]:]*\s", stripped)):
            yield from flush()
            continue
        tabs = len(line) - len(line.lstrip("\t"))
        if ITEM.match(stripped) or manual and (TERM.match(line) or words and tabs != depth):
            yield from flush()
        if not words:
            begin = number
        depth = tabs
        words.append(stripped.removesuffix("++"))
        if stripped.endswith("++"):
            yield from flush()
    yield from flush()


def paragraphs(name, text):
    if name.endswith((".c", ".h", ".cc", ".hpp", ".def", ".pml")):
        return c_paragraphs(text)
    if name.endswith((".py", ".pyi", ".sh", ".build", ".bash", "Makefile")):
        return script_paragraphs(text)
    return prose_paragraphs(text, name.endswith(".scd"))


def plain(words):
    """What is code is one word, a link its text, and a list in a sentence the same as its words."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words)
    words = re.sub(r"`[^`]*`", "X", words)
    return words


def sentences(name, text):
    """(line, number of words, sentence) of each sentence of a file's prose."""
    for line, words in paragraphs(name, text):
        for sentence in SENTENCE_END.split(plain(words)):
            yield line, sum(1 for word in sentence.split() if WORD.search(word)), sentence
