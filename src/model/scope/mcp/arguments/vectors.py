#!/usr/bin/env python3
"""Schemas of the subset, values, and what Python's jsonschema (the reference) says: written to vectors.jsonl, which the tests read.

    pip install jsonschema && python3 vectors.py > vectors.jsonl
"""

import json
import random

from jsonschema import Draft202012Validator

rng = random.Random(20261129)
pick = rng.choice
LEAVES = [None, True, False, 0, 1, 2, -1, 3, 0.5, 1.0, 2.5, -2.0, "", "a", "ab", "b", "é", "𝄞a", "srv-7", "1"]
TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]
COUNTS = ["minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength"]
BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]


def value(depth=2):
    if depth == 0 or rng.random() < 0.6:
        return pick(LEAVES)
    if rng.random() < 0.5:
        return [value(depth - 1) for _ in range(rng.randrange(4))]
    return {name: value(depth - 1) for name in rng.sample("abc", rng.randrange(4))}


def same(one, other):
    return Draft202012Validator({"const": one}).is_valid(other)


def different(count):
    values = []
    for _ in range(count):
        new = value()
        if not any(same(known, new) for known in values):
            values.append(new)
    return values


def schema(depth):
    if depth == 0:
        return pick([True, False, {"type": "string"}, {"const": 1}, {"minimum": 1}])
    keywords = {}
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(12)
        inner = lambda: schema(depth - 1)
        some = lambda: [inner() for _ in range(rng.randrange(1, 3))]
        if kind == 0:
            keywords["type"] = pick([pick(TYPES), rng.sample(TYPES, 2), rng.sample(TYPES, 3)])
        elif kind == 1:
            keywords["const"] = value()
        elif kind == 2:
            keywords["enum"] = different(rng.randrange(1, 5))
        elif kind == 3:
            keywords[pick(["allOf", "anyOf", "oneOf"])] = some()
        elif kind == 4:
            keywords["properties"] = {name: inner() for name in rng.sample("abc", rng.randrange(1, 3))}
        elif kind == 5:
            keywords["required"] = rng.sample("abc", rng.randrange(1, 3))
        elif kind == 6:
            keywords["additionalProperties"] = inner()
        elif kind == 7:
            keywords["items"] = inner()
        elif kind == 8:
            keywords["prefixItems"] = some()
        elif kind == 9:
            keywords[pick(COUNTS)] = rng.randrange(3)
        elif kind == 10:
            keywords[pick(BOUNDS)] = pick([-1, 0, 1.5, 2])
        else:
            keywords.update(pick([{"multipleOf": 2}, {"multipleOf": 1}, {"pattern": "^a"}, {"pattern": "b$"},
                                  {"pattern": "^srv-[0-9]+$"}, {"pattern": "a|é"}, {"pattern": "^.{2}$"}]))
    return keywords


lines = 0
while lines < 1_000:
    made = {"properties": {"a": schema(pick([1, 1, 2, 3]))}}
    validator = Draft202012Validator(made)
    verdicts = [[v, validator.is_valid({"a": v})] for v in different(12)]
    # Both answers, as far as there are both.
    chosen = [v for v in verdicts if v[1]][:2] + [v for v in verdicts if not v[1]][:2]
    print(json.dumps([made, chosen], ensure_ascii=False, separators=(",", ":")))
    lines += 1
