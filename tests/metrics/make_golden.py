"""Makes golden.json, the scores that the reference scorer gives to the captions below.

Run in an environment of its own, with Java: pip install pycocoevalcap==1.2; python make_golden.py
"""

import json
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

IMAGES = [  # (hypothesis, references)
    ("a dog runs on the grass", ["a dog runs on the grass", "the brown dog is running outside"]),
    ("", ["a child in a red coat", "a small child walks in the snow"]),
    ("dog", ["a dog", "the dog sleeps on a sofa", "dog"]),
    ("a a a a a a", ["a man rides a bike on a hill"]),
    ("the the cat", ["the cat sat on the mat", "there is a cat on the mat", "a cat sits"]),
    ("two men play football", ["two men play football in the rain while a crowd looks on"]),
    (
        "a very long caption about a man in a blue shirt who stands near a tall old tree",
        ["a man near a tree", "man by a tree", "a man in a blue shirt"],
    ),
    ("una niña come un plátano", ["una niña come un plátano maduro", "la niña está comiendo"]),
    ("犬 が 走る", ["犬 が 草 の 上 を 走る", "a dog runs on the grass"]),
    ("zyx wvu tsr", ["a boat on a lake", "a small boat is on the water"]),
    ("a <unk> in a <unk>", ["a boat in a harbour", "a ship in a harbour"]),
    (
        "a man 's hat does n't fit",
        ["the man 's hat is too small", "a man wears a hat", "a hat", "a man", "the hat 's brim"],
    ),
    ("a boy jumps over a wall", ["over a wall jumps a boy"]),
    (
        "a woman and a man sit on a bench in a park",
        [
            "a man and a woman sit on a bench",
            "two people sit on a bench in a park",
            "a couple on a park bench",
            "a woman sits next to a man in a park",
            "people rest in a park",
            "a bench in a park",
        ],
    ),
    ("a dog", ["a dog runs on the grass", "a dog"]),
    ("a dog runs", ["a dog", "a dog runs fast"]),
    ("on the grass the dog a runs", ["a dog runs on the grass"]),
    ("a red bus", ["", "a red bus drives down a street"]),
    ("a group of people stand on a beach", ["a group of people stand on a beach"] * 3),
    ("a bird flies over water", ["a bird flies", "the bird is over water", "birds over the water"]),
    ("one", ["one"]),
    ("", ["", "a sign on a wall"]),
    ("a child plays ( outside )", ["children are playing outdoors -lrb- in the sun -rrb-"]),
    ("b a c a d", ["a b a c a b d", "d c b a"]),
    ("running dogs jumped quickly", ["a dog runs and jumps fast", "the dogs are running"]),
]


def main() -> None:
    """Score the images together, and write the scores next to this file."""
    hypotheses = {i: [hypothesis] for i, (hypothesis, _) in enumerate(IMAGES)}
    references = {i: sentences for i, (_, sentences) in enumerate(IMAGES)}
    bleu, sentence_bleu = Bleu(4).compute_score(references, hypotheses, verbose=0)
    cider, cider_d = Cider().compute_score(references, hypotheses)
    rouge_l, rouge_ls = Rouge().compute_score(references, hypotheses)
    meteor, meteors = Meteor().compute_score(references, hypotheses)
    golden = {
        "hypotheses": [hypothesis for hypothesis, _ in IMAGES],
        "references": [sentences for _, sentences in IMAGES],
        "corpus_bleu": bleu,
        "sentence_bleu": [list(scores) for scores in zip(*sentence_bleu, strict=True)],
        "cider": float(cider),
        "cider_d": cider_d.tolist(),
        "corpus_rouge_l": float(rouge_l),
        "rouge_l": rouge_ls.tolist(),
        "corpus_meteor": meteor,
        "meteor": meteors,
    }
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    Path(__file__).with_name("golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
