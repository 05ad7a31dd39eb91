"""Read a YAML file as plain data, and find the line of each field in it.

The dialect is YAML 1.2 with maps, lists, text, numbers, true, false and null. There are no tags and no merge keys, and
a date is text. A repeated key is an error, because other readers silently take the last one.
"""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from definitions.loading.problems import InvalidFiles, Problem
from shared.files import open_regular

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"


class Source:
    """The ``data`` of one YAML file. `problem` finds the place of a field in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        try:
            # Only the pure Python reader has columns.
            self._root: Node | None = YAML(typ="safe", pure=True).compose(text)
        except YAMLError as error:
            raise InvalidFiles([_syntax_problem(file, text, error)]) from None
        except RecursionError:
            raise InvalidFiles([Problem(file, 1, 1, "", "is nested too deeply: use fewer levels")]) from None
        if self._root is None:
            raise InvalidFiles([Problem(file, 1, 1, "", "is empty")])
        reader = _Reader(file)
        self.data = reader.value(self._root, "", ())
        if reader.problems:
            raise InvalidFiles(reader.problems)

    def problem(self, field: str, message: str) -> Problem:
        """Return a problem at the place of *field*, or of the closest parent that the file has."""
        node, mark, rest = self._root, self._root.start_mark if self._root else None, field
        while rest:
            if isinstance(node, MappingNode):
                # Take the longest match, because the name of an attribute may contain dots.
                found = sorted(
                    ((key, value) for key, value in node.value if _starts_with(rest, str(key.value))),
                    key=lambda pair: len(str(pair[0].value)),
                )
                if not found:
                    break
                key, node = found[-1]
                mark, rest = key.start_mark, rest[len(str(key.value)) :].removeprefix(".")
            elif isinstance(node, SequenceNode) and (item := re.match(r"\[(\d+)\]\.?", rest)):
                if int(item[1]) >= len(node.value):
                    break
                node = node.value[int(item[1])]
                mark, rest = node.start_mark, rest[item.end() :]
            else:
                break
        return Problem(self.file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, field, message)


def read(path: Path) -> Source:
    """Return the parsed file *path*; raises `InvalidFiles`."""
    return Source(str(path), read_text(path))


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of *path*; raises `InvalidFiles` if it is missing, too large or not UTF-8."""
    try:
        with open_regular(path) as file:
            raw = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise InvalidFiles(
            [Problem(str(path), 1, 1, "", f"cannot be read: {getattr(error, 'strerror', error)}")]
        ) from None
    if len(raw) > max_bytes:
        raise InvalidFiles([Problem(str(path), 1, 1, "", f"is larger than {max_bytes} bytes: split it")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"is not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8"
        raise InvalidFiles([Problem(str(path), line, column, "", message)]) from None


class _Reader:
    """Turns nodes into data, and collects problems."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._values = 0
        self.problems: list[Problem] = []

    def value(self, node: Node, field: str, around: tuple[int, ...]) -> Any:
        self._values += 1
        if id(node) in around:
            return self._refuse(node, field, "an alias must not refer to something that contains it")
        if self._values > MAX_VALUES:
            # Nested aliases can turn a few lines into billions of values. Report it once.
            if self._values == MAX_VALUES + 1:
                self._refuse(node, field, f"has more than {MAX_VALUES} values: remove aliases, or split the file")
            return None
        around = (*around, id(node))
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._map(node, field, around)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(each, f"{field}[{n}]", around) for n, each in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, field)
        return self._refuse(node, field, f"the tag {node.tag} is not supported: remove it")

    def _map(self, node: MappingNode, field: str, around: tuple[int, ...]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                message = "the name of a field must be text; put text with {{ … }} in quotes"
                self._refuse(key_node, field, message)
                continue
            here = f"{field}.{key_node.value}" if field else key_node.value
            if key_node.tag == _TAG + "merge":
                self._refuse(key_node, here, "merge keys do not exist in YAML 1.2: write out the fields")
                continue
            key = self._scalar(key_node, here)
            if key in result:
                self._refuse(key_node, here, f"'{key_node.value}' is in this map twice: remove one")
            result[key] = self.value(value_node, here, around)
        return result

    def _scalar(self, node: ScalarNode, field: str) -> Any:
        tag, text = str(node.tag).removeprefix(_TAG), node.value
        if tag in ("str", "timestamp"):
            return text
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        if tag in ("int", "float"):
            return self._number(node, tag, field)
        return self._refuse(node, field, f"the tag {node.tag} is not supported: remove it")

    def _number(self, node: ScalarNode, tag: str, field: str) -> Any:
        text = node.value.replace("_", "").lower()
        try:
            if tag == "float":
                return float(re.sub(r"\.(inf|nan)", r"\1", text))
            return int(text, 0 if re.match(r"[+-]?0[xob]", text) else 10)
        except ValueError:
            return self._refuse(node, field, f"'{node.value}' is not a number: put it in quotes if it is text")

    def _refuse(self, node: Node, field: str, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self._file, mark.line + 1, mark.column + 1, field, message))


def _starts_with(field: str, name: str) -> bool:
    return field.startswith(name) and field[len(name) : len(name) + 1] in ("", ".", "[")


# The most common mistakes: a pattern of ruamel's message, and advice instead of it.
_QUOTE = "put the text in quotes"
_ADVICE = (
    (r"character '\\t'", "tabs cannot indent: use spaces"),
    (r"character '(.)' that cannot start", rf"text cannot begin with '\1' here: {_QUOTE}"),
    (
        r"mapping values are not allowed here",
        f"the line has a second ': ', or one space too many: {_QUOTE}, or align it",
    ),
    (r"undefined alias", f"'*' begins an alias, and no anchor has that name: {_QUOTE}"),
    (
        r"expected <block end>, but found '(<scalar>|,)'",
        "something follows the end of the text: put all of it in quotes",
    ),
    (
        r"expected <block end>, but found '<block mapping start>'",
        "the line is indented differently from its neighbours: align it",
    ),
    (r"could not find expected ':'", "the name is not followed by ': ': write 'name: value', with a space"),
    (r"expected ',' or '\}', but got ':'", f"an entry of {{…}} has a second ': ': {_QUOTE}"),
    (r"unexpected end of stream", "a quote is opened but never closed: close it"),
)


def _advice(said: str) -> str | None:
    for pattern, advice in _ADVICE:
        if found := re.search(pattern, said):
            return found.expand(advice)
    return None


def _syntax_problem(file: str, text: str, error: YAMLError) -> Problem:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if error.context_mark and "expected ':'" in (error.problem or ""):
            mark = error.context_mark  # the colon is missing there; the reader notices later
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = "; ".join(part for part in (error.context, error.problem) if part)
        return Problem(file, line, column, "", f"is not YAML: {_advice(error.problem or '') or said}")
    if isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        return Problem(file, line, column, "", "is not YAML: remove the control character")
    return Problem(file, 1, 1, "", f"is not YAML: {str(error).splitlines()[0]}")
