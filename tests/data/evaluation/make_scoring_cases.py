"""Writes scoring_cases.jsonl: random texts, and what Python says of them.

number: str() of the last match of \\d+(\\.\\d+)? as a float, after the commas between digits are dropped; 0.0 without
a match.
stripped: str.strip() of the text.
Python's \\d, float() and strip() know the digits and the white space of all scripts; that is what the tests are about.
"""
import json
import pathlib
import random
import re
import unicodedata

DIGITS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Nd"]
SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()]
OTHERS = list("ab$-+% eE/=²½Ⅷ一٫٬，।।") + ["\u200b", "\ufeff", "\u0301"]


def last_number(text):
    text = re.sub(r"(\d),(\d)", r"\g<1>\g<2>", text)
    matches = re.findall(r"(\d+(\.\d+)?)", text)
    return float(matches[-1][0]) if matches else 0.0


def random_text(rng):
    def character():
        kind = rng.random()
        if kind < 0.35:
            return rng.choice("0123456789")
        if kind < 0.45:
            return rng.choice(DIGITS)
        if kind < 0.62:
            return rng.choice(",.")
        return rng.choice(SPACES) if kind < 0.75 else rng.choice(OTHERS)

    return "".join(character() for _ in range(rng.randint(0, 24)))


def main():
    rng = random.Random(4)
    texts = [random_text(rng) for _ in range(400)]
    texts += ["".join(rng.choice(DIGITS) for _ in range(12)) for _ in range(60)]
    texts += ["9" * 309, "0." + "0" * 400 + "1", "1" * 17, "0.1" + "0" * 20 + "1", "0.00001", "123456789012345678"]
    texts += [space + "A" + space for space in SPACES]
    with open(pathlib.Path(__file__).parent / "scoring_cases.jsonl", "w", encoding="utf-8") as file:
        for text in texts:
            case = {"text": text, "number": str(last_number(text)), "stripped": text.strip()}
            file.write(json.dumps(case) + "\n")


main()
