# SPDX-License-Identifier: MIT
"""Takes the sentences out of comments, Markdown and manual pages, for the checks `sentences` and `words` of lint.py."""
import bisect
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
    if name.endswith((".c", ".h", ".cc", ".hpp", ".def", ".pml", ".css")):
        return c_paragraphs(text)
    if name.endswith(".js"):
        return script_paragraphs(re.sub(r"^([ \t]*)//", r"\1#", text, flags=re.M))
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


# -------------------------------------------------------------------------------- words ----

# What CONTRIBUTING.md asks of a sentence, as far as a pattern can tell; a capital letter begins one.
WORDS = [
    (r"\b(?i:whom|whoever)\b|(?:^|[.:;(] |--- )[Ww]hose\b|\b(?:of|by|to|for|and|or) whose\b",
     "a clause has a noun: name the process, thread or file"),
    (r"(?:^|[.:;] |--- |\*\*)Who\b(?![^.:]*\?)|(?:[:;] |--- )who\b|\b(?:of|for|to|by|from|than|and|or|wakes) who\b",
     "a clause has a noun: name the process or thread"),
    (r"\b(?i:anew)\b", "again, once more"),
    (r"(?<![Tt]here )\bis no (?!longer\b|more\b|less\b|one\b)[a-z]", "is not a"),
    (r"\b(?i:lets?|letting) go of\b|\b(?:is|are|was|were|be|been) let go\b", "released; a slot is emptied"),
    (r"\bbehind (?:(?:the|its|their|a) end\b|end of file)", "past end of file"),
]
# A place that is right as it is: (file, the words found there).
WORDS_ALLOWED = {("src/sync/engine.h", "been let go")}

C_TEXT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", flags=re.S)


def only_text(text, marks):
    """Of C what begins with one of the marks: comments, strings. The rest becomes blanks, so that line numbers stay."""
    kept, at = [], 0
    for match in C_TEXT.finditer(text):
        kept.append(re.sub(r"[^\n]", " ", text[at:match.start()]))
        found = match.group(0)
        kept.append(found if found[0] in marks else " " * len(found))
        at = match.end()
    return "".join(kept)


def in_one_line(name, text):
    """The words of a file in one line, without the marks of comments; where in it which line begins."""
    in_c = name.endswith((".c", ".h", ".def"))
    parts, starts, length = [], [], 0
    if in_c:  # the sentences of hf_fail() stay: programs and tests may know them
        text = only_text(text, "/" if name.startswith("src/") else '/"')
    marks = r"^\s*(?://|#+)?\s*" if name.endswith(".md") else r"^\s*(?:/\*+|\*+/?|//|#+)?\s*"
    for line in text.splitlines():
        begins = ". " if re.match(r"\s*/\*", line) else ""  # a comment begins a sentence
        line = re.sub(marks, "", line)
        words = begins + " ".join((line.replace('"', " ") if in_c else line).split())
        starts.append(length)
        parts.append(words)
        length += len(words) + 1
    return " ".join(parts), starts


def words_found(name, text):
    """(line, words, advice) of each place that breaks a rule of WORDS."""
    line, starts = in_one_line(name, text)
    for pattern, advice in WORDS:
        for match in re.finditer(pattern, line):
            if (name, match.group(0)) not in WORDS_ALLOWED:
                yield bisect.bisect_right(starts, match.start()), match.group(0), advice
