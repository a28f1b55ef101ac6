"""What the documents say of the programs: python3 documents.py ROOT BUILD

Every option that a document gives to layalign-train, -eval, -cache or -checkpoint must stand in the program's --help, and
every relative link must lead to a file and, with #, to a heading of it. Prints what does not, and ends with 1.
"""

import pathlib
import re
import subprocess
import sys

root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
documents = [root / "README.md", root / "CONTRIBUTING.md"]
for folder in ("checkpoints_tools", "configs", "data", "dist", "docs", "launch", "model", "tests", "trainer"):
    documents += sorted((root / folder).rglob("*.md"))
problems, helps = [], {}


def help_of(program, subcommand):
    """The help of a command, empty where there is none."""
    command = [build / f"layalign-{program}"] + ([subcommand] if subcommand else [])
    if (program, subcommand) not in helps:
        run = subprocess.run([*command, "--help"], capture_output=True, text=True)
        helps[program, subcommand] = run.stdout if run.returncode == 0 else ""
    return helps[program, subcommand]


def check_options(document, text):
    """The number of options of programs in the text; wrong ones become problems."""
    count = 0
    for line in text.replace("\\\n", " ").split("\n"):
        for program, rest in re.findall(r"layalign-(train|eval|cache|checkpoint) ([^`|]*?)(?=\s#|`|\||layalign-|$)", line):
            word = re.match(r"([a-z]+)\s", rest + " ")
            subcommand = word[1] if word and program in ("cache", "checkpoint") else ""
            for option in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", rest):
                count += 1
                if not re.search(re.escape(option) + r"\b(?!-)", help_of(program, subcommand)):
                    problems.append(f"{document}: layalign-{program} {subcommand} has no {option}: {line.strip()}")
    return count


def headings(text):
    titles = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(document, text):
    """The number of relative links in the text; broken ones become problems."""
    count = 0
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        count += 1
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists():
            problems.append(f"{document}: no file {link}")
        elif heading and heading not in headings(target.read_text(encoding="utf-8")):
            problems.append(f"{document}: no heading {link}")
    return count


options = links = 0
for document in documents:
    content = document.read_text(encoding="utf-8")
    options += check_options(document, content)
    links += check_links(document, content)
print(*problems, f"{options} options, {links} links in {len(documents)} documents", sep="\n")
sys.exit(1 if problems or options < 50 or links < 50 else 0)
