#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the bundled data: a small world told in plain sentences, questions
about it, and the tokenizer and shape of the tiny model that learns them.

tiny_text.jsonl tells the base model the facts (recipes/tiny_base.lua);
tiny_instruct.jsonl teaches it to answer questions (recipes/quickstart.lua). Its
last HELD_OUT rows ask about things that no other question mentions: a model
that answers them took the manner from the questions, the facts from the base.
Run again, it writes the same bytes. Standard library only.
"""
import json
import pathlib
import random
import re
from collections import Counter

from tiny_world import ANIMALS, COUNTRIES, FOODS, JOBS, OPPOSITES, PAST, PLURALS

HERE = pathlib.Path(__file__).resolve().parent
HELD_OUT = 128
DOCUMENTS = 4000
VOCABULARY = 1024
END = "<|end|>"


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


# A fact is (group, thing, statements, questions, answer): the statements tell
# it in the base text, each question is answered by the first of them.
def facts():
    for name, capital, continent, tongue in COUNTRIES:
        yield ("country", name, [f"The capital of {name} is {capital}.",
                                 f"{capital} is the capital of {name}."],
               [f"What is the capital of {name}?",
                f"Name the capital of {name}.",
                f"Which city is the capital of {name}?"])
        yield ("country", name, [f"{name} is in {continent}.",
                                 f"{name} is a country in {continent}."],
               [f"Where is {name}?", f"On which continent is {name}?",
                f"Tell me where {name} is."])
        yield ("country", name, [f"People in {name} speak {tongue}.",
                                 f"{tongue} is spoken in {name}."],
               [f"Which language do people in {name} speak?",
                f"What do people speak in {name}?",
                f"Name the language of {name}."])
    for name, colour, home, food, young, legs in ANIMALS:
        the = article(name)
        yield ("animal", name, [f"The colour of {the} is {colour}.",
                                f"{the.capitalize()} is {colour}."],
               [f"What colour is {the}?", f"Name the colour of {the}.",
                f"Tell me the colour of {the}."])
        yield ("animal", name, [f"{the.capitalize()} lives {home}.",
                                f"The home of {the} is {home}."],
               [f"Where does {the} live?", f"Tell me where {the} lives.",
                f"What is the home of {the}?"])
        yield ("animal", name, [f"{the.capitalize()} eats {food}.",
                                f"The food of {the} is {food}."],
               [f"What does {the} eat?", f"Tell me what {the} eats.",
                f"Name the food of {the}."])
        kid = article(young)
        yield ("animal", name, [f"A young {name} is called {kid}.",
                                f"{kid.capitalize()} is a young {name}."],
               [f"What is a young {name} called?", f"Name a young {name}.",
                f"What do you call a young {name}?"])
        yield ("animal", name, [f"{the.capitalize()} has {legs} legs.",
                                f"The number of legs of {the} is {legs}."],
               [f"How many legs does {the} have?",
                f"Count the legs of {the}.",
                f"Tell me how many legs {the} has."])
    for name, kind, colour, taste in FOODS:
        the = article(name)
        yield ("food", name, [f"The colour of {the} is {colour}.",
                              f"{the.capitalize()} is {colour}."],
               [f"What colour is {the}?", f"Name the colour of {the}.",
                f"Tell me the colour of {the}."])
        yield ("food", name, [f"{the.capitalize()} tastes {taste}.",
                              f"The taste of {the} is {taste}."],
               [f"How does {the} taste?", f"What is the taste of {the}?",
                f"Describe the taste of {the}."])
        yield ("food", name, [f"{the.capitalize()} is a kind of {kind}.",
                              f"One kind of {kind} is {the}."],
               [f"What kind of food is {the}?", f"What is {the}?",
                f"Is {the} a fruit or a vegetable?"])
    for one, other in OPPOSITES:
        for a, b in ((one, other), (other, one)):
            yield ("opposite", one, [f"The opposite of {a} is {b}.",
                                     f"{a.capitalize()} is not {b}."],
                   [f"What is the opposite of {a}?",
                    f"Give the opposite of {a}.",
                    f"Which word means not {a}?"])
    for name, thing in JOBS:
        the = article(name)
        yield ("job", name, [f"{the.capitalize()} {thing}.",
                             f"The work of {the}: {the} {thing}."],
               [f"What does {the} do?", f"Describe the work of {the}.",
                f"Tell me what {the} does."])
    for one, many in PLURALS:
        yield ("plural", one, [f"The plural of {one} is {many}.",
                               f"One {one}, two {many}."],
               [f"What is the plural of {one}?", f"Give the plural of {one}.",
                f"How do you write more than one {one}?"])
    for now, past in PAST:
        yield ("past", now, [f"The past of {now} is {past}.",
                             f"Today I {now}, yesterday I {past}."],
               [f"What is the past of {now}?", f"Give the past of {now}.",
                f"Put the word {now} into the past."])
    for a in range(1, 11):
        for b in range(1, 11):
            yield ("sum", f"{a} and {b}", [f"{a} plus {b} is {a + b}.",
                                       f"{a} and {b} make {a + b}."],
                   [f"What is {a} plus {b}?", f"Add {a} and {b}.",
                    f"How much is {a} plus {b}?"])


def by_thing(all_facts):
    """{group: {thing: [fact, ...]}}"""
    world = {}
    for fact in all_facts:
        world.setdefault(fact[0], {}).setdefault(fact[1], []).append(fact)
    return world


def tell(facts_of_things, rng):
    """All facts of the things, each in one of its forms, in any order."""
    told = [rng.choice(fact[2]) for facts_of in facts_of_things
            for fact in facts_of]
    rng.shuffle(told)
    return " ".join(told)


class Deck:
    """Draws the cards in random order, each once before any comes again."""

    def __init__(self, cards, rng):
        self.cards, self.rng, self.left = cards, rng, []

    def draw(self, count):
        while len(self.left) < count:
            fresh = self.rng.sample(self.cards, len(self.cards))
            self.left = fresh + self.left
        return [self.left.pop() for _ in range(count)]


def texts(world, rng):
    """Documents of the base text: the names of a few things, and their facts.

    The names stand where an instruction will: the base learns to look there
    for what to talk about, but not that it could be asked something."""
    rich, poor = [], []
    for things in world.values():
        for name, facts_of in things.items():
            (rich if len(facts_of) > 2 else poor).append((name, facts_of))
    rich, poor = Deck(rich, rng), Deck(poor, rng)
    for _ in range(DOCUMENTS):
        if rng.random() < 0.5:
            cards = rich.draw(rng.choice((1, 2)))
        else:
            cards = poor.draw(rng.choice((1, 3, 5)))
        title = ", ".join(name for name, _ in cards)
        yield title, tell([facts_of for _, facts_of in cards], rng)


def questions(world, rng):
    """Rows for training, and the rows held out: things asked nowhere else."""
    groups = Counter(name for things in world.values() for name in things)
    train, held = [], []
    for things in world.values():
        names = [name for name in things if groups[name] == 1]
        hidden = set(rng.sample(names, len(names) // 5))
        for name, facts_of in things.items():
            rows = held if name in hidden else train
            rows += [(question, told[0]) for _, _, told, asked in facts_of
                     for question in asked]
    rng.shuffle(train)
    return train, rng.sample(held, HELD_OUT)


# ---------------------------------------------------------------- tokenizer

# What GPT-2's pattern does to text like ours: words, numbers, marks, spaces.
PIECES = re.compile(r" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + extra)
            extra += 1
    return letters


def train_bpe(counts, room):
    """Merges for {word: count}: the commonest pair, ties by spelling."""
    letters = byte_letters()
    words = [([letters[b] for b in word.encode()], n)
             for word, n in counts.items()]
    merges = []
    while len(merges) < room:
        pairs = {}
        for parts, n in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] = pairs.get(pair, 0) + n
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for parts, _ in words:
            at = 0
            while at + 1 < len(parts):
                if (parts[at], parts[at + 1]) == best:
                    parts[at:at + 2] = [parts[at] + parts[at + 1]]
                at += 1
    return merges


def tokenizer(counts):
    letters = sorted(byte_letters().values())
    merges = train_bpe(counts, VOCABULARY - 1 - len(letters))
    vocabulary = [END] + letters
    known = set(vocabulary)
    for a, b in merges:
        if a + b not in known:
            vocabulary.append(a + b)
            known.add(a + b)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 0, "content": END, "single_word": False,
                          "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                          "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                    "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": {piece: i for i, piece in enumerate(vocabulary)},
                  "merges": [f"{a} {b}" for a, b in merges]},
    }


CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 384,
    "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "hidden_act": "silu",
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "attention_bias": False, "mlp_bias": False,
    "tie_word_embeddings": True, "initializer_range": 0.06,
    "bos_token_id": None, "eos_token_id": 0, "torch_dtype": "float32",
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END,
    "pad_token": END, "model_max_length": 512,
    "clean_up_tokenization_spaces": False,
}
# Stanford's words around a row: they get tokens of their own.
TEMPLATE = """Below is an instruction that describes a task. Write a response \
that appropriately completes the request.

### Instruction:

### Response:
"""


def write_rows(name, rows):
    with open(HERE / name, "w", encoding="utf-8") as out:
        for instruction, output in rows:
            row = {"instruction": instruction, "input": "", "output": output}
            out.write(json.dumps(row) + "\n")


def write_json(name, value):
    path = HERE / "tiny" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")


def main():
    rng = random.Random(1)
    world = by_thing(facts())
    text = list(texts(world, rng))
    train, held = questions(world, rng)
    counts = {}
    # Each distinct sentence counts once, so that vocabulary follows words.
    told = {s for doc in text for s in re.split(r"(?<=\.)(?= )", doc[1])}
    asked = [question for question, _ in train + held]
    for sample in [*told, *asked, *[TEMPLATE] * 100]:
        for piece in PIECES.findall(sample):
            counts[piece] = counts.get(piece, 0) + 1
    counts = dict(sorted(counts.items()))
    write_rows("tiny_text.jsonl", text)
    write_rows("tiny_instruct.jsonl", train + held)
    write_json("tokenizer.json", tokenizer(counts))
    write_json("tokenizer_config.json", TOKENIZER_CONFIG)
    write_json("config.json", CONFIG)
    print(f"{len(text)} texts, {len(train)} questions, {len(held)} held out, "
          f"{len(counts)} distinct words")


if __name__ == "__main__":
    main()
