"""docs/openapi.json, the API of the gateway: nothing undescribed, nothing taken away, nothing that generators drop."""

import copy
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

ROOT: Final = Path(__file__).parents[2]
COMMITTED: Final = json.loads((ROOT / "docs" / "openapi.json").read_text())
SCHEMAS: Final = COMMITTED["components"]["schemas"]


def operations() -> Iterator[Any]:
    for path in COMMITTED["paths"].values():
        yield from path.values()


def answers_of(operation: Any) -> dict[str, Any]:
    """What an operation answers, by status, wherever it is told."""
    responses = operation["responses"]
    shared = COMMITTED["components"]["responses"]
    return {
        status: shared[one["$ref"].rpartition("/")[2]] if "$ref" in one else one for status, one in responses.items()
    }


def nodes(value: Any) -> Iterator[Any]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(one)


def test_every_operation_has_a_name_of_its_own_a_tag_with_text_and_a_description() -> None:
    tags = {tag["name"]: tag["description"] for tag in COMMITTED["tags"]}

    assert all(text for text in tags.values())
    assert [name for name, times in Counter(one["operationId"] for one in operations()).items() if times > 1] == []
    assert all(one["operationId"].isalnum() and one["operationId"][0].islower() for one in operations())
    assert [
        one["operationId"] for one in operations() if not one["description"] or not set(one["tags"]) <= tags.keys()
    ] == []
    assert COMMITTED["paths"]["/goals"]["post"]["operationId"] == "createGoal"


def examples() -> Iterator[tuple[str, Any, Any]]:
    """Of each operation what the demo asked and was answered: its name, the schema and the example."""
    for operation in operations():
        bodies = [
            operation.get("requestBody", {}),
            *(one for one in operation["responses"].values() if "$ref" not in one),
        ]
        for media in (body.get("content", {}).get("application/json", {}) for body in bodies):
            if "example" in media:
                yield operation["operationId"], media["schema"], media["example"]


def test_what_the_demo_asked_and_was_answered_is_as_the_document_says() -> None:
    shown = list(examples())

    for name, schema, example in shown:
        jsonschema_rs.validate({**schema, "components": COMMITTED["components"]}, example)
        assert "eyJ" not in json.dumps(example), f"{name} shows a token"
    assert {"createGoal", "startSession", "giveGift", "getMyWallet", "checkOut"} <= {name for name, _, _ in shown}


def test_every_property_is_described_and_every_schema_has_a_title_of_its_own() -> None:
    properties = {
        (name, one): of for name, schema in SCHEMAS.items() for one, of in schema.get("properties", {}).items()
    }

    assert [where for where, of in properties.items() if not of.get("description")] == []
    assert {schema["title"] for schema in SCHEMAS.values()} == SCHEMAS.keys()


def test_only_what_the_gateway_lets_through_is_in_it() -> None:
    paths = COMMITTED["paths"].keys()

    assert {"/goals", "/sessions/{session_id}/viewers/count", "/wallets/me", "/gifts"} <= paths
    assert not {"/goal", "/healthz", "/readyz", "/metrics", "/openapi.json"} & paths


def test_each_slug_is_one_problem_with_one_title_and_a_plain_status() -> None:
    problems = {name: schema for name, schema in SCHEMAS.items() if name.endswith("Problem") and name != "Problem"}
    slugs = Counter(schema["properties"]["type"]["const"] for schema in problems.values())
    titles = Counter(schema["description"] for schema in problems.values())

    assert len(problems) > 80
    assert max(slugs.values()) == 1
    assert [title for title, times in titles.items() if times > 1] == []
    assert [name for name, schema in problems.items() if schema["properties"]["status"]["type"] != "integer"] == []
    assert [
        name for name, schema in problems.items() if {"const", "enum"} & schema["properties"]["status"].keys()
    ] == []
    assert not [node for one in operations() for node in nodes(answers_of(one)) if "allOf" in node]


def test_what_may_be_one_of_several_says_which_by_its_type() -> None:
    create = COMMITTED["paths"]["/goals"]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    refusals = answers_of(create)["409"]["content"]["application/problem+json"]["schema"]
    context = SCHEMAS["GoalView"]["properties"]["context"]

    assert (body["discriminator"]["propertyName"], len(body["oneOf"])) == ("type", 5)
    assert (context["discriminator"]["propertyName"], len(context["oneOf"])) == ("type", 6)
    assert all(SCHEMAS[one["$ref"].rpartition("/")[2]]["type"] == "object" for one in context["oneOf"])
    assert refusals["discriminator"]["propertyName"] == "type"
    assert {"$ref": refusals["discriminator"]["mapping"]["/problems/stage-taken"]} in refusals["oneOf"]


def test_what_many_operations_refuse_alike_is_told_once() -> None:
    """Five hundred kilobytes are too many to read a contract in."""
    told = [json.dumps(one) for each in operations() for one in each["responses"].values() if "$ref" not in one]
    refusals = [one for one in told if "problem+json" in one]

    assert [one for one, times in Counter(refusals).items() if times > 1] == []
    assert len(json.dumps(COMMITTED, ensure_ascii=False)) < 350_000


def test_every_reference_leads_somewhere() -> None:
    for node in nodes(COMMITTED):
        if isinstance(node.get("$ref"), str):
            where: Any = COMMITTED
            for part in node["$ref"].removeprefix("#/").split("/"):
                where = where[part]


def test_limits_scopes_and_repetition_are_told_where_they_matter() -> None:
    create = COMMITTED["paths"]["/goals"]["post"]
    credit = COMMITTED["paths"]["/wallets/{user_id}/credit"]["post"]

    assert [one["name"] for one in create["parameters"] if one["in"] == "header"] == ["Idempotency-Key"]
    assert "Idempotent-Replayed" in create["responses"]["202"]["headers"]
    assert all("Retry-After" in answers_of(one)[status]["headers"] for one in operations() for status in ("429", "503"))
    assert credit["security"] == [{"bearer": ["OPS"]}]
    assert "`CREATOR`" in COMMITTED["components"]["securitySchemes"]["bearer"]["description"]


def without_path(document: Any) -> None:
    del document["paths"]["/gifts"]["get"]


def renamed(document: Any) -> None:
    document["paths"]["/goals"]["post"]["operationId"] = "makeGoal"


def without_answered_property(document: Any) -> None:
    del document["components"]["schemas"]["Wallet"]["properties"]["balance_diamonds"]


def other_type(document: Any) -> None:
    document["components"]["schemas"]["Wallet"]["properties"]["balance_diamonds"]["type"] = "string"


def perhaps_missing(document: Any) -> None:
    document["components"]["schemas"]["Wallet"]["required"].remove("balance_diamonds")


def more_is_needed(document: Any) -> None:
    document["components"]["schemas"]["NewGift"]["required"].append("goal_id")


def without_parameter(document: Any) -> None:
    operation = document["paths"]["/goals"]["get"]
    operation["parameters"] = [one for one in operation["parameters"] if one["name"] != "mine"]


def less_is_taken(document: Any) -> None:
    document["components"]["schemas"]["PutSource"]["properties"]["kind"]["enum"].remove("obs")


def other_status(document: Any) -> None:
    answers = document["paths"]["/goals"]["post"]["responses"]
    answers["200"] = answers.pop("202")


def other_than_an_object(document: Any) -> None:
    push = document["components"]["schemas"]["NotificationView"]["properties"]
    push["data"] = {"oneOf": [{"type": "object"}, {"type": "string"}]}


BREAKS: Final = (
    other_than_an_object,
    without_path,
    renamed,
    without_answered_property,
    other_type,
    perhaps_missing,
    more_is_needed,
    without_parameter,
    less_is_taken,
    other_status,
)


def compare(before: Any, after: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    files = folder / "before.json", folder / "after.json"
    for file, document in zip(files, (before, after), strict=True):
        file.write_text(json.dumps(document))
    command = [sys.executable, "docs/api_changes.py", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("plant", BREAKS)
def test_what_breaks_a_client_is_refused_unless_it_is_another_api(plant: Callable[[Any], None], tmp_path: Path) -> None:
    after = copy.deepcopy(COMMITTED)
    plant(after)

    told = compare(COMMITTED, after, tmp_path)
    after["info"]["version"] = "2.0.0"
    allowed = compare(COMMITTED, after, tmp_path)

    assert (told.returncode, len(told.stdout.splitlines()) >= 1) == (1, True), told.stderr
    assert allowed.returncode == 0


def test_what_is_added_breaks_nobody(tmp_path: Path) -> None:
    after = copy.deepcopy(COMMITTED)
    after["paths"]["/news"] = {"get": after["paths"]["/gifts"]["get"] | {"operationId": "listNews"}}
    after["components"]["schemas"]["Wallet"]["properties"]["name"] = {"type": "string", "description": "…"}
    after["components"]["schemas"]["NewGift"]["properties"]["note"] = {"type": "string", "description": "…"}

    told = compare(COMMITTED, after, tmp_path)

    assert (told.returncode, told.stdout.strip()) == (0, "")


def test_the_committed_api_breaks_no_client_of_the_one_that_was_committed_before(tmp_path: Path) -> None:
    """Whoever has a clone without history has committed nothing."""
    log = ["git", "log", "-2", "--format=%H", "--", "docs/openapi.json"]
    changed = subprocess.run(log, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for commit in changed:  # the newest may not be what is here
        shown = ["git", "show", f"{commit}:docs/openapi.json"]
        before = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout

        told = compare(json.loads(before), COMMITTED, tmp_path)

        assert (told.returncode, told.stdout.strip()) == (0, "")


def test_an_answer_of_which_nothing_was_said_may_become_anything(tmp_path: Path) -> None:
    before = copy.deepcopy(COMMITTED)
    answer = before["paths"]["/gifts"]["get"]["responses"]["200"]["content"]["application/json"]
    answer["schema"] = {"title": "Anything"}

    assert compare(before, COMMITTED, tmp_path).returncode == 0
