#!/usr/bin/env python3
"""Write what the C++ programs read of the small experiment.

    python make_corpora.py --out ../../out/data [--draws 4]

    OUT/translation.jsonl                       stage 1: question -> English question, nine languages
    OUT/answer.jsonl                            stage 2: question -> equation, all languages but the one kept out
    OUT/evaluation/msvamp/test_Language.jsonl   the held-out problems, the same ones in every language

All numbers are drawn anew, --draws times a training problem. Rows of one problem are of one group, so that a run holds out whole problems.
"""
import argparse
import json
import pathlib
import random

from problems import HERE, LANGUAGES, MATH_PROMPT, read_problems, redrawn, splits

KEPT_OUT_OF_STAGE_2 = "Russian"
TEST_DRAWS = 4


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{path}: {len(rows)} rows")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    training, _, test = splits(read_problems(HERE / "data"))
    translation, answer = [], []
    for group, problem in enumerate(training):
        for language in LANGUAGES:
            for _ in range(arguments.draws):
                for rows in (translation, answer):
                    drawn = redrawn(problem, rng, languages=[language, "English"])
                    if not drawn or language not in drawn:
                        continue
                    row = {"source": drawn[language], "language": language, "group": str(group)}
                    if rows is translation and language != "English":
                        translation.append({**row, "target": drawn["English"]})
                    if rows is answer and language != KEPT_OUT_OF_STAGE_2:
                        answer.append({**row, "target": drawn["target"], "prompt": MATH_PROMPT.format(query=drawn[language])})
    write(arguments.out / "translation.jsonl", translation)
    write(arguments.out / "answer.jsonl", answer)
    questions = [redrawn(problem, rng) for problem in test for _ in range(TEST_DRAWS)]
    questions = [q for q in questions if q and all(language in q for language in LANGUAGES)]
    for language in LANGUAGES:
        write(arguments.out / "evaluation" / "msvamp" / f"test_{language}.jsonl", [
            {"m_query": q[language], "query": q["English"], "equation": q["target"], "response": f"{q['value']}.0"} for q in questions])


if __name__ == "__main__":
    main()
