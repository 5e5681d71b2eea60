#!/usr/bin/env python3
"""Count words of the project's former dialect in its prose, per 10,000 words: docs, docstrings, comments, task names.

`word_table.py` prints the table by word and the files with the most hits, and the names of functions and classes that
have such a word in them; `word_table.py --check` fails if a word is out of its range, or if there is such a name. The
ranges are those of ten well-known projects (community.docker, prometheus-community/ansible,
matrix-docker-ansible-deploy, httpx, structlog, patroni, borgmatic, freqtrade, ib_async, nautilus_trader).
"""

import argparse
import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SHOWN_FILES = 15
PER = 10_000


class Range(NamedTuple):
    """The forms of a word and how often they may occur per 10,000 words."""

    words: tuple[str, ...]
    forms: re.Pattern[str]
    least: float
    most: float


def word(forms: str, least: float, most: float) -> Range:
    # A hyphenated compound such as stand-in is another word.
    return Range(tuple(forms.split("|")), re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])", re.IGNORECASE), least, most)


WORDS = {
    "tell/told": word("tell|tells|told|telling", 0, 2.4),
    "say/said": word("say|says|said|saying", 0, 2.3),
    "begin/began": word("begin|begins|began|begun|beginning", 0, 1.7),
    "stand/stood": word("stand|stands|stood|standing", 0, 0.6),
    "mend": word("mend|mends|mended|mending", 0, 0),
    "create": word("create|creates|created|creating|creation", 8, 35),
    "handle": word("handle|handles|handled|handling|handler|handlers", 2, 27),
}
NAME_PARTS = frozenset(form for rule in WORDS.values() if not rule.least for form in rule.words) | {
    *("hear", "hears", "heard", "hearing"),
    *("look", "looks", "looked", "looking"),
}
ALLOWED_NAMES = re.compile(r"look_alike|looked_up|^Said$|^say$")
"""Ordinary English; `Said` is a kind of record in journals, `say` the function that writes a line to the journal."""
MODULE_DOCS = ("DOCUMENTATION", "RETURN")
PROSE_KEYS = re.compile(r"^\s*(?:- )?(?:name|short_description|description|fail_msg|msg):(.*)$", re.MULTILINE)


def of_markdown(text: str) -> str:
    """Prose without fenced blocks and inline code: output and log lines stay as the programs write them."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def of_python(text: str) -> str:
    """Docstrings and comments, for modules also the documentation that Ansible reads."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node) or "")
        # DOCUMENTATION and RETURN of a module, and strings below a constant that describe it.
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in MODULE_DOCS:
            found.append(ast.literal_eval(node.value))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.append("" if node.value.value in found else node.value.value)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return re.sub(r"``?[^`]*``?", "", "\n".join(found))


def of_yaml(text: str) -> str:
    """Comments, task names, descriptions and messages, as far as they are on the line of their key."""
    return "\n".join(PROSE_KEYS.findall(text) + re.findall(r"(?:^|\s)#(.*)$", text, re.MULTILINE))


READERS = {".md": of_markdown, ".py": of_python, ".yml": of_yaml, ".j2": of_yaml, ".toml": of_yaml}


def tracked() -> list[Path]:
    git = shutil.which("git") or "git"
    names = subprocess.run(  # noqa: S603 - a fixed command
        [git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name]


def count(text: str) -> Counter[str]:
    return Counter({name: len(rule.forms.findall(text)) for name, rule in WORDS.items()})


def names_of(text: str) -> list[str]:
    """The functions and classes of a Python file whose names have one of the words in them."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = [node.name for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    parts = {name: re.split(r"_+|(?<=[a-z])(?=[A-Z])", name) for name in names if not ALLOWED_NAMES.search(name)}
    return [name for name, own in parts.items() if NAME_PARTS & {part.lower() for part in own}]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a word is out of its range")
    arguments = parser.parse_args()
    total: Counter[str] = Counter()
    by_file: dict[str, int] = {}
    words = 0
    named: list[str] = []
    for path in tracked():
        reader = READERS.get(path.suffix)
        if reader is None or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        prose = reader(text)
        if path.suffix == ".py":
            named += [f"{path.relative_to(ROOT)}: {name}" for name in names_of(text)]
        words += len(re.findall(r"[A-Za-z][A-Za-z'-]*", prose))
        found = count(prose)
        total += found
        excess = sum(found[name] for name, rule in WORDS.items() if rule.least == 0)
        if excess:
            by_file[str(path.relative_to(ROOT))] = excess
    wrong = 0
    sys.stdout.write(f"{words} words; occurrences per {PER}:\n")
    for name, rule in WORDS.items():
        rate = round(total[name] * PER / words, 1)
        fits = rule.least <= rate <= rule.most
        wrong += not fits
        verdict = "" if fits else "   OUT OF RANGE"
        sys.stdout.write(f"  {name:12} {rate:5.1f}   allowed {rule.least:g} to {rule.most:g}{verdict}\n")
    for name, hits in sorted(by_file.items(), key=lambda item: -item[1])[: SHOWN_FILES if wrong else 0]:
        sys.stdout.write(f"  {hits:4} in {name}\n")
    for name in named:
        sys.stdout.write(f"  a name with a word of the dialect: {name}\n")
    return 1 if (wrong or named) and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
