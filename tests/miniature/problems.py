"""Word problems of the small experiment: splits, numbers drawn anew, the equation as text, and its score.

A problem is {"English": question, ..., "equation": prefix notation}, where number0 is the first number of the English
question. Questions are rewritten with small numbers (1 to 50, everything that is computed from them 0 to 100), in ASCII
digits in every language, so that a number is one token of both models.
"""
import json
import math
import pathlib
import random
import re
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
LANGUAGES = ["Bengali", "Chinese", "English", "French", "German", "Japanese", "Russian", "Spanish", "Swahili", "Thai"]
MATH_PROMPT = ("Below is an instruction that describes a task. Write a response that appropriately completes the request."
               "\n\n### Instruction:\n{query}\n\n### Response: Let's think step by step.")
GSM8K = HERE / "data" / "gsm8k_parallel"  # not shipped: README.md says where it comes from
CODES = {"de": "German", "es": "Spanish", "fr": "French", "ja": "Japanese", "ru": "Russian", "sw": "Swahili", "zh": "Chinese"}
LARGEST_OPERAND, LARGEST_VALUE = 50, 100
NUMERAL = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


def read_problems(data):
    """[{language: question, ..., "equation": prefix notation}]; line i of every file is the same problem."""
    problems = []
    for language in LANGUAGES:
        with open(data / "msvamp" / f"test_{language}.jsonl", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        problems = problems or [{"equation": row["equation"]} for row in rows]
        for problem, row in zip(problems, rows, strict=True):
            problem[language] = row["m_query"]
    return problems


def splits(problems):
    """(training, dev, test) by problem, the same in every language: test is held_out.txt, dev 50 others by chance."""
    lines = (HERE / "held_out.txt").read_text().splitlines()
    test = {int(line) - 1 for line in lines if not line.startswith("#")}
    rest = [i for i in range(len(problems)) if i not in test]
    dev = set(random.Random(1).sample(rest, 50))
    return [[problems[i] for i in chosen] for chosen in ([i for i in rest if i not in dev], sorted(dev), sorted(test))]


def svamp_style(text):
    """English as MSVAMP writes it: small letters, marks set apart."""
    return re.sub(r" +", " ", re.sub(r"([.,?!;:$%]|'s\b)(?![0-9])", r" \1 ", text.lower())).strip()


def ascii_digits(text):
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and unicodedata.digit(c, None) is not None else c for c in text)


def translated_numbers(problem, language):
    """The question in ASCII digits, or None where a number of the English question is not a numeral of it."""
    question = ascii_digits(problem[language])
    return question if sorted(NUMERAL.findall(question)) == sorted(NUMERAL.findall(problem["English"])) else None


def infix(equation, numbers):
    """(text, value) of an equation in prefix notation; None where a step leaves 0..100 or the whole numbers."""
    stack = []
    for token in reversed(equation.split()):
        if token not in PRECEDENCE:
            value = numbers[int(token[6:])] if token.startswith("number") else int(float(token))
            stack.append((str(value), value, 3))
            continue
        (left, a, left_rank), (right, b, right_rank) = stack.pop(), stack.pop()
        rank = PRECEDENCE[token]
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else -1}[token]
        if value < 0 or value > LARGEST_VALUE or value != int(value):
            return None
        left = left if left_rank >= rank else f"( {left} )"
        right = right if right_rank > rank or (right_rank == rank and token in "+*") else f"( {right} )"
        stack.append((f"{left} {token} {right}", int(value), rank))
    return stack[0][:2]


def redrawn(problem, rng, tries=400, languages=LANGUAGES):
    """{language: question, "target": "48 - 21 = 27", "value": 27} with other numbers, or None where none fit."""
    numbers = NUMERAL.findall(problem["English"])
    distinct = sorted(set(numbers))
    for _ in range(tries):
        largest = rng.choice([10, 20, LARGEST_OPERAND])
        new = dict(zip(distinct, rng.sample(range(1, LARGEST_OPERAND + 1), len(distinct)) if largest == LARGEST_OPERAND
                       else [rng.randint(1, largest) for _ in distinct]))
        solved = infix(problem["equation"], [new[number] for number in numbers])
        if solved:
            questions = {language: NUMERAL.sub(lambda m: str(new[m[0]]), text)
                         for language in languages if language in problem
                         for text in [translated_numbers(problem, language)] if text}
            return {**questions, "target": f"{solved[0]} = {solved[1]}", "value": solved[1]}
    return None


def written_value(text):
    """The value of the expression before '=', or NaN where it is none. What an output is scored by."""
    expression = text.split("=")[0].strip()
    if not re.fullmatch(r"[0-9+\-*/(). ]+", expression) or re.search(r"\*\*|//|[0-9)] *\(", expression):
        return math.nan
    try:
        return float(eval(expression, {"__builtins__": {}}))  # digits and operators alone
    except (SyntaxError, ZeroDivisionError, TypeError):
        return math.nan


# GSM8K: questions in eight languages; those that one or two operations on numbers of the text solve are problems too.

def prefix_of_answer(question, answer):
    """GSM8K's worked answer as an equation over the question's numbers, or None where it is none of that kind."""
    numbers, steps = NUMERAL.findall(question), re.findall(r"<<([^=>]*)=([^>]*)>>", answer)
    if not 1 <= len(steps) <= 2 or len(set(numbers)) != len(numbers) or len(numbers) < 2:
        return None
    known = {number: f"number{i}" for i, number in enumerate(numbers)}
    used = 0
    for expression, value in steps:
        parts = re.fullmatch(r"\s*([0-9.]+)\s*([-+*/])\s*([0-9.]+)\s*", expression)
        if not parts or parts[1] not in known or parts[3] not in known:
            return None
        equation = f"{parts[2]} {known[parts[1]]} {known[parts[3]]}"
        used += 1
        if value in known:
            return None
        known[value] = equation
    last = known[steps[-1][1]]
    return last if used == len(re.findall(r"[-+*/]", last)) else None


def read_gsm8k(longest=260):
    """(problems as above, with the languages that have them; texts {language: question} of all short questions)."""
    english = [json.loads(line) for line in open(GSM8K / "english.jsonl", encoding="utf-8")]
    texts = {row["question"].strip(): {"English": row["question"].strip()} for row in english}
    for code, language in CODES.items():
        folder = GSM8K / f"en-{code}"
        with open(folder / "train.en", encoding="utf-8") as sources, open(folder / f"train.{code}", encoding="utf-8") as lines:
            for source, line in zip(sources, lines, strict=True):
                texts.setdefault(source.strip(), {"English": source.strip()})[language] = line.strip()
    texts = {question: text for question, text in texts.items() if len(question) <= longest}
    problems = []
    for row in english:
        equation = prefix_of_answer(row["question"], row["answer"])
        if equation and row["question"].strip() in texts:
            problems.append({**texts[row["question"].strip()], "equation": equation})
    return problems, list(texts.values())


if __name__ == "__main__":
    rng = random.Random(0)
    problems = read_problems(HERE / "data")
    parts = splits(problems)
    print("training, dev, test:", *map(len, parts))
    for language in LANGUAGES:
        print(language, sum(translated_numbers(p, language) is not None for p in problems))
    drawn = [redrawn(p, rng) for p in problems]
    print("with small numbers:", sum(d is not None for d in drawn),
          "in all languages:", sum(d is not None and all(language in d for language in LANGUAGES) for d in drawn))
    print(drawn[0], drawn[500], sep="\n")
    for d in drawn:
        assert d is None or written_value(d["target"]) == d["value"], d
    if GSM8K.exists():
        gsm, texts = read_gsm8k()
        print("GSM8K problems:", len(gsm), "texts:", len(texts), "redrawn:", sum(redrawn(p, rng) is not None for p in gsm))
        for p in gsm[:3]:
            print(p["English"], p["equation"], (redrawn(p, rng) or {}).get("target"))
