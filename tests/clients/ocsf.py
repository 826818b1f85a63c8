"""Checks OCSF events, one JSON object a line of standard input, against the published schema of OCSF 1.8.0.

Prints what is wrong with each, and how many events of each class there were.
"""

import collections
import json
import sys
from importlib.resources import files

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded

published = json.loads((files("ocsf_json_schema") / "ocsf" / "1.8.0.json").read_text())
schemas = OcsfJsonSchemaEmbedded(published)
validators = {}
classes = collections.Counter()
for line in sys.stdin:
    event = json.loads(line)
    profiles = tuple(sorted(event["metadata"].get("profiles", [])))
    uid = event["class_uid"]
    if (uid, profiles) not in validators:
        name = schemas.lookup_class_name_from_uid(uid)
        schema = schemas.get_class_schema(name, list(profiles))
        # Whether one of several members is there: the published schema says it, its translation does not.
        limits = published["classes"][name].get("constraints", {})
        validators[uid, profiles] = Draft202012Validator(schema), limits
    validator, limits = validators[uid, profiles]
    problems = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(event)]
    if event["metadata"]["version"] != "1.8.0":
        problems.append("another version")
    if event["type_uid"] != uid * 100 + event["activity_id"]:
        problems.append("type_uid does not fit")
    if "just_one" in limits and sum(name in event for name in limits["just_one"]) != 1:
        problems.append(f"not just one of {limits['just_one']}")
    if "at_least_one" in limits and not any(name in event for name in limits["at_least_one"]):
        problems.append(f"none of {limits['at_least_one']}")
    classes[f"{uid}/{event['activity_id']}"] += 1
    if problems:
        print(json.dumps({"problems": problems, "event": event}))
print(json.dumps({"classes": classes}))
