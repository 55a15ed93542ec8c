"""The help pages: for every node in both languages, with a picture, and its names, defaults and messages."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from graph_reading import registered

from everanimate_core.everanimate.settings import Settings
from everanimate_core.knobs import knobs
from everanimate_core.runs.settings import RunSettings

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "nodes" / "web" / "docs"
# What stands in the place of a default: for an input that must be connected or chosen, and for one that need not.
NO_DEFAULT = {"en": ("required", "optional"), "zh": ("必需", "可选")}
# What stands for a text that is empty.
EMPTY = {"en": "empty", "zh": "空"}
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("nodes", "everanimate_core")
    for path in (ROOT / folder).rglob("*.py")
]
_DECLARED = dict(re.findall(r'node_id="(\w+)",\s*display_name="([^"]+)"', "".join(SOURCES)))
NAMES = {node_id: name for node_id, name in _DECLARED.items() if node_id in registered()}
LARGEST_PICTURE = 60_000
# In a pattern, what is filled in.
ANYTHING = ".+"

each_page = pytest.mark.parametrize("language", NO_DEFAULT)
each_node = pytest.mark.parametrize("node_id", sorted(NAMES))


def read(node_id, language):
    return (DOCS / node_id / f"{language}.md").read_text(encoding="utf-8")


def signatures():
    """{node id: (inputs, outputs)} as the tests inside the host hold them against the real schema."""
    tree = ast.parse((ROOT / "tests" / "host" / "test_nodes.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == "SIGNATURES" for target in node.targets)
    )
    return ast.literal_eval(value)


def tables(page):
    """The tables of a page, each a list of rows without the heading, each row a list of its cells' text."""
    found = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:-1]] for table in found
    ]


def code(text):
    """What is set as code in a text."""
    return re.findall(r"`([^`]+)`", text)


def errors():
    """The errors that say `field rule (example); got x.`, each with what its calls name."""
    named = {"InputError": ["field", "rule", "example", "got"]}
    classes = [node for tree in map(ast.parse, SOURCES) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _ in classes:
        for node in classes:
            if {getattr(base, "id", None) for base in node.bases} & named.keys():
                made = [part.args.args[1:] for part in node.body if getattr(part, "name", "") == "__init__"]
                named[node.name] = [argument.arg for argument in made[0]] if made else named["InputError"]
    return named


def literal(node, known):
    """What an expression of a text can be, as a pattern: what is filled in may be anything. known: of variables."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return literal(node.value, known)
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    return known.get(getattr(node, "id", None), ANYTHING)


def assigned(tree):
    """{variable: pattern} of the texts that a function gives a name."""
    texts = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.JoinedStr | ast.Constant):
            texts |= {target.id: literal(node.value, {}) for target in node.targets if isinstance(target, ast.Name)}
    return texts


def scopes():
    """The functions of the sources, with those inside them, the methods, and what else stands in a file.

    Each with the patterns of the texts that have a name there, {variable: pattern}.
    """
    for tree in map(ast.parse, SOURCES):
        constants = assigned(ast.Module([node for node in tree.body if isinstance(node, ast.Assign)], []))
        for node in tree.body:
            for scope in node.body if isinstance(node, ast.ClassDef) else [node]:
                yield scope, constants | assigned(scope)


@cache
def messages():
    """What the sources can say in an error, as patterns, without the name of the node."""
    named, found = errors(), set()
    for scope, known in scopes():
        for node in ast.walk(scope):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in named:
                texts = {part: literal(text, known) for part, text in zip(named[node.func.id], node.args, strict=False)}
                field = f"{texts['field']} " if texts.get("field") else ""
                example = rf" \({texts['example']}\)" if texts.get("example") else ""
                found.add(f"{field}{texts.get('rule', ANYTHING)}{example}; got .+\\.")
            elif isinstance(node, ast.JoinedStr) and "; got " in literal(node, {}).replace("\\", ""):
                found.add(literal(node, known))
    return [pattern for pattern in found if telling(pattern)]


def telling(pattern):
    """Whether a pattern says more than that something was got."""
    return len(re.sub(r"\W|got", "", pattern.replace(ANYTHING, ""))) > 10


def test_every_node_has_its_pages_and_no_other_is_there():
    assert set(NAMES) == registered() == set(signatures())
    assert 'WEB_DIRECTORY = "./nodes/web"' in (ROOT / "__init__.py").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    in_languages = {f"{node_id}/{language}.md" for node_id in NAMES for language in NO_DEFAULT}
    assert pages == in_languages | {f"{node_id}.md" for node_id in NAMES}


def test_the_node_of_a_whole_animation_has_all_settings():
    """It draws its widgets from them; its signature, and with it the help pages, are written by hand."""
    inputs, _ = signatures()["EverAnimateAnimate"]
    described = {word.partition("=")[0].rstrip("?") for word in inputs.split()}
    # Nodes choose `beside` themselves.
    missing = {*knobs(Settings), *knobs(RunSettings)} - described - {"beside"}
    assert not missing, f"write them into SIGNATURES of tests/host/test_nodes.py and into the help pages: {missing}"


@each_node
def test_other_languages_fall_back_to_english(node_id):
    """Editors in a language without a page ask for <node_id>.md; a link would not survive a zip file."""
    assert (DOCS / f"{node_id}.md").read_bytes() == (DOCS / node_id / "en.md").read_bytes()


@each_page
@each_node
def test_the_tables_are_those_of_the_node(node_id, language):
    page, (inputs, outputs) = read(node_id, language), signatures()[node_id]
    assert page.startswith(f"# {NAMES[node_id]}\n")
    required, optional = NO_DEFAULT[language]
    expected = []
    for word in inputs.split():
        name, equals, default = word.rstrip("?").partition("=")
        # The interface writes true and false.
        default = default.lower() if default in ("True", "False") else default.replace("~", " ")
        given = f"`{default}`" if default else EMPTY[language]
        expected.append((f"`{name}`", given if equals else optional if word.endswith("?") else required))
    input_table, output_table = tables(page)
    assert [(name, default) for name, _, default, _, _ in input_table] == expected
    assert [name for name, _, _ in output_table] == [f"`{name}`" for name in outputs.split(", ")]
    assert all(cell for table in (input_table, output_table) for row in table for cell in row)


@each_node
def test_both_languages_say_the_same(node_id):
    english, chinese = (read(node_id, language) for language in NO_DEFAULT)
    for one, other in zip(english.split("\n"), chinese.split("\n"), strict=True):
        assert set(code(one)) == set(code(other))
        assert re.findall(r"\*\*(.+?)\*\*", one) == re.findall(r"\*\*(.+?)\*\*", other)


@each_page
@each_node
def test_other_nodes_are_named_as_they_are_and_only_the_picture_is_linked(node_id, language):
    page = read(node_id, language)
    others = re.findall(r"\*\*(.+?)\*\*", page)
    assert others and set(others) <= set(NAMES.values()) - {NAMES[node_id]}
    # The editor looks for it beside the folders of the pages.
    assert re.findall(r"\]\(([^)]*)\)", page) == [f"{node_id}.jpg"]
    assert re.search(rf"^!\[.*{NAMES[node_id]}.*\]\(", page, re.MULTILINE)


@each_node
def test_a_picture_of_the_node(node_id):
    picture = (DOCS / f"{node_id}.jpg").read_bytes()
    assert picture.startswith(b"\xff\xd8")
    assert len(picture) < LARGEST_PICTURE


@each_node
def test_messages_are_those_of_the_code(node_id):
    said = [text for text in code(read(node_id, "en")) if "; got " in text]
    for message in said:
        name, _, error = message.partition(": ")
        assert name in NAMES.values(), message
        assert any(re.fullmatch(pattern, error) for pattern in messages()), message
