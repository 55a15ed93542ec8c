"""The help pages: for every node in both languages, with a picture, and its names, defaults and messages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "nodes" / "web" / "docs"
# What stands in the place of a default: for an input that must be connected or chosen, and for one that need not.
NO_DEFAULT = {"en": ("required", "optional"), "zh": ("必需", "可选")}
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("nodes", "everanimate_core")
    for path in (ROOT / folder).rglob("*.py")
]
NAMES = dict(re.findall(r'node_id="(\w+)",\s*display_name="([^"]+)"', "".join(SOURCES)))
LARGEST_PICTURE = 60_000

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


def messages():
    """What the sources can say in an error, as patterns: what is filled in may be anything."""
    for tree in map(ast.parse, SOURCES):
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                parts = [getattr(part, "value", None) for part in getattr(node, "values", [node])]
                texts = [part if isinstance(part, str) else None for part in parts]
                if any(text and "; got " in text for text in texts):
                    yield "".join(".+" if text is None else re.escape(text) for text in texts)


def test_every_node_has_its_pages_and_no_other_is_there():
    assert set(NAMES) == set(re.findall(r'node_id="(\w+)"', "".join(SOURCES))) == set(signatures())
    assert 'WEB_DIRECTORY = "./nodes/web"' in (ROOT / "__init__.py").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    in_languages = {f"{node_id}/{language}.md" for node_id in NAMES for language in NO_DEFAULT}
    assert pages == in_languages | {f"{node_id}.md" for node_id in NAMES}


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
        default = default.lower() if default in ("True", "False") else default
        expected.append((f"`{name}`", f"`{default}`" if equals else optional if word.endswith("?") else required))
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
    known = list(messages())
    for message in said:
        assert any(re.fullmatch(pattern, message) for pattern in known), message
        # Of these the pattern says little: they are put together from a rule, an example and what was got.
        if message.startswith("Load EverAnimate LoRA: "):
            rule, example = re.match(r".*?: (.+?) \((.+)\); got ", message).groups()
            assert f'"{rule}"' in "".join(SOURCES) and f'"{example}"' in "".join(SOURCES), message
