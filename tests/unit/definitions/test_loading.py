"""Folders of definitions: what is loaded, and the file, line, column and field of every problem."""

from pathlib import Path

import pytest

from definitions.loading.problems import InvalidFiles, Problem
from tests.support.definitions import load_definitions
from tests.support.paths import ROOT

SITE = """\
id: demo
name: Demo
keys:
  - {kind: public, key: wk_public}
"""
GROUP = """\
id: vip
rule: {tier: vip}
"""
CAMPAIGN = """\
id: three-wins
name: Three wins
targets: [vip]
trigger:
  sequence:
    - event: win
      times: 3
  within: 10m
channel: popup
content:
  title: Hi
"""
C, G, S = "campaigns/c.yaml", "groups/g.yaml", "site.yaml"
STEP = "trigger.sequence[0]"


def folder(path: Path, files: dict[str, str | bytes]) -> Path:
    """Write *files* over a valid folder of definitions and return it."""
    for name, text in ({S: SITE, G: GROUP, C: CAMPAIGN} | files).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path, env: dict[str, str] | None = None) -> list[Problem]:
    """Return the problems of *path*, with file names relative to the folder."""
    with pytest.raises(InvalidFiles) as caught:
        load_definitions(path, env or {})
    base = path if path.is_dir() else path.parent
    return [
        Problem(str(Path(each.file).relative_to(base)), each.line, each.column, each.field, each.message)
        for each in caught.value.problems
    ]


def test_a_folder_is_read(tmp_path: Path) -> None:
    """Site, groups and campaigns are checked, in the order of their file names."""
    other = CAMPAIGN.replace("three-wins", "another")
    definitions = load_definitions(folder(tmp_path, {"campaigns/b.yaml": other, "README.md": "# Hello"}))
    assert definitions.site.id == "demo"
    assert [group.rule for group in definitions.groups] == [{"tier": "vip"}]
    assert [campaign.id for campaign in definitions.campaigns] == ["another", "three-wins"]


@pytest.mark.parametrize("name", ["demo", "shop"])
def test_the_example_folders_load(name: str) -> None:
    """They have no problems, with or without their secrets."""
    for env in ({}, {f"OPPORTUNE_{name.upper()}_SECRET_KEY": "sk_0123456789"}):
        assert load_definitions(ROOT / "campaigns" / name, env).site.id == name


CASES: list[tuple[str, str | bytes, str, str, str]] = [
    # file, its text, the place of the problem, its field, and a part of its message
    (C, CAMPAIGN.replace("times: 3", "times: three"), f"{C}:7:7", f"{STEP}.times", "whole number"),
    (C, CAMPAIGN.replace("times:", "tims:"), f"{C}:7:7", f"{STEP}.tims", "did you mean 'times'?"),
    (C, CAMPAIGN.replace("10m", "10"), f"{C}:8:3", "trigger.within", "10 has no unit"),
    (C, CAMPAIGN.replace("10m", "10 minutes"), f"{C}:8:3", "trigger.within", "not a duration"),
    (C, CAMPAIGN.replace("  within: 10m\n", ""), f"{C}:4:1", "trigger.within", "is missing"),
    (C, CAMPAIGN.replace(" 10m", ""), f"{C}:8:3", "trigger.within", "is empty"),
    (C, CAMPAIGN.replace("    - event", "    - gap:\n      event"), f"{C}:6:7", f"{STEP}.gap", "is empty"),
    (C, CAMPAIGN.replace("event: win", "event: 7"), f"{C}:6:7", f"{STEP}.event", "put 7 in quotes"),
    (
        C,
        CAMPAIGN.replace("times: 3", "where: {x: {gr: 1}}"),
        f"{C}:7:19",
        f"{STEP}.where.x.gr",
        "unknown operator",
    ),
    (C, CAMPAIGN.replace("times: 3", "where: {a.b: {in: 1}}"), f"{C}:7:21", f"{STEP}.where.a.b.in", "a list"),
    (C, CAMPAIGN.replace("times: 3", "where: {x: null}"), f"{C}:7:15", f"{STEP}.where.x", "exists: false"),
    (
        C,
        CAMPAIGN.replace("times: 3", "where: {x: '{{ event.y }}'}"),
        f"{C}:7:15",
        f"{STEP}.where.x",
        "fixed values",
    ),
    (C, CAMPAIGN.replace("times: 3", "where: {1: 2}"), f"{C}:7:15", f"{STEP}.where.1", "write '1' in quotes"),
    (C, CAMPAIGN.replace("times: 3", "min_gap: 5m"), f"{C}:7:7", f"{STEP}.min_gap", "is not supported"),
    (C, CAMPAIGN.replace("times: 3", "exactly: 3"), f"{C}:7:7", f"{STEP}.exactly", "is not supported"),
    (
        C,
        CAMPAIGN.replace("times: 3", "consecutive: true"),
        f"{C}:7:7",
        f"{STEP}.consecutive",
        "needs 'times'",
    ),
    (C, CAMPAIGN.replace("times: 3", "consecutive: yes"), f"{C}:7:7", f"{STEP}.consecutive", "true or false"),
    (C, CAMPAIGN.replace("[vip]", "[vip, vipp]"), f"{C}:3:16", "targets[1]", "did you mean 'vip'?"),
    (C, CAMPAIGN.replace("[vip]", "vip"), f"{C}:3:1", "targets", "write [vip]"),
    (C, CAMPAIGN.replace("channel: popup", "channel: sms"), f"{C}:10:1", "content", "is content for channel popup"),
    (C, CAMPAIGN.replace("channel: popup\n", ""), f"{C}:1:1", "channel", "is missing"),
    (C, CAMPAIGN.replace("title: Hi", "title: '{{ x'"), f"{C}:11:3", "content.title", "not Liquid"),
    (C, CAMPAIGN + "limit: {again_after: 24h}\n", f"{C}:12:1", "limit", "unknown field 'limit'"),
    (C, CAMPAIGN + "name: Again\n", f"{C}:12:1", "name", "'name' is in this map twice"),
    (C, CAMPAIGN + "  bad\n", f"{C}:12:3", "", "is not YAML"),
    (C, CAMPAIGN.replace("[vip]", "[vip"), f"{C}:4:8", "", "is not YAML"),
    (C, CAMPAIGN.replace("Hi", "!!python/name:os.system x"), f"{C}:11:10", "content.title", "remove it"),
    (C, CAMPAIGN.replace("Hi", "\x07"), f"{C}:11:10", "", "remove the control character"),
    (C, CAMPAIGN.replace("Hi", "H\xe9").encode("latin-1"), f"{C}:11:11", "", "is not UTF-8"),
    (C, "", f"{C}:1:1", "", "is empty"),
    (C, "# nothing\n", f"{C}:1:1", "", "is empty"),
    (C, "three wins\n", f"{C}:1:1", "", "must be a map of fields"),
    (C, CAMPAIGN + "---\n" + CAMPAIGN, f"{C}:12:1", "", "is not YAML"),
    (C, "a: &a [*a]\n", f"{C}:1:4", "a[0]", "an alias must not refer to"),
    (C, "[" * 700, f"{C}:1:1", "", "nested too deeply"),
    (C, "<<: {id: x}\n", f"{C}:1:1", "<<", "merge keys"),
    (C, "? [a]\n: b\n", f"{C}:1:3", "", "must be text"),
    ("campaigns/d.yaml", CAMPAIGN, "campaigns/d.yaml:1:1", "id", "another campaign has the id"),
    ("campaigns/d.yml", CAMPAIGN, "campaigns/d.yml:1:1", "", "rename it to end in .yaml"),
    ("other.yaml", CAMPAIGN, "other.yaml:1:1", "", "move campaigns to campaigns/"),
    (G, GROUP.replace("vip}", "{gtt: 1}}"), f"{G}:2:15", "rule.tier.gtt", "write 'gt'"),
    (G, "id: vip\n", f"{G}:1:1", "", "needs 'rule'"),
    (G, "id: vip\nlist: nobody.csv\n", f"{G}:2:1", "list", "there is no file"),
    (G, "id: vip\nlist: ../../nobody.csv\n", f"{G}:2:1", "list", "outside of the folder"),
    (G, "id: vip\nlist: /etc/passwd\n", f"{G}:2:1", "list", "outside of the folder"),
    (G, "id: vip\nlist: [u1, 7]\n", f"{G}:2:12", "list[1]", "write '7' in quotes"),
    (S, SITE + "timezone: Europe/Viena\n", f"{S}:5:1", "timezone", "Europe/Vienna"),
    (S, SITE.replace("public,", "secret,"), f"{S}:4:20", "keys[0].key", "must not be in a file"),
]


@pytest.mark.parametrize(("file", "text", "place", "field", "message"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_problems_have_a_place(
    tmp_path: Path, file: str, text: str | bytes, place: str, field: str, message: str
) -> None:
    """One mistake is one problem, at its place."""
    (problem,) = problems(folder(tmp_path, {file: text}))
    assert (f"{problem.file}:{problem.line}:{problem.column}", problem.field) == (place, field)
    assert message in problem.message


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """Problems of all files are sorted. References to a broken definition are not reported."""
    email = CAMPAIGN.replace("popup", "email").replace("title: Hi", "{subject: x, text: x}")
    found = problems(
        folder(
            tmp_path,
            {
                S: SITE.replace("id: demo", "id: Demo!"),
                G: "id: vip\n",
                C: email.replace("[vip]", "[vip, nobody]"),
                "campaigns/d.yaml": CAMPAIGN.replace("three-wins", "Three").replace("10m", "10"),
            },
        )
    )
    assert [(each.file, each.line, each.field) for each in found] == [
        ("campaigns/c.yaml", 3, "targets[1]"),
        ("campaigns/d.yaml", 1, "id"),
        ("campaigns/d.yaml", 8, "trigger.within"),
        ("groups/g.yaml", 1, ""),
        ("site.yaml", 1, "id"),
    ]


def test_an_email_needs_the_sites_sender(tmp_path: Path) -> None:
    """The problem is reported in the campaign, because without it the site would be valid."""
    email = CAMPAIGN.replace("popup", "email").replace("title: Hi", "{subject: x, text: x}")
    (problem,) = problems(folder(tmp_path, {C: email}))
    assert (problem.file, problem.line, problem.field) == (C, 9, "channel")


def test_missing_files(tmp_path: Path) -> None:
    """A folder without a site, and a path that does not exist."""
    (tmp_path / "empty").mkdir()
    ((problem),) = problems(tmp_path / "empty")
    assert (problem.file, problem.line) == ("site.yaml", 1)
    assert "is missing" in problem.message
    with pytest.raises(InvalidFiles, match="no such file or folder"):
        load_definitions(tmp_path / "nowhere")


def test_aliases_cannot_make_much_of_little(tmp_path: Path) -> None:
    """Nine lines that expand to a billion values are refused quickly."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (problem,) = problems(folder(tmp_path, {C: "\n".join(lines)}))
    assert "more than 100000 values" in problem.message


def test_dates_and_words_stay_text(tmp_path: Path) -> None:
    """In YAML 1.2 only true and false are booleans, and a date stays text."""
    group = "id: vip\nrule: {country: no, last_login: {gte: 2024-01-31}, code: '007', n: 0x1f, f: 1e3}\n"
    definitions = load_definitions(folder(tmp_path, {G: group}))
    assert definitions.groups[0].rule == {
        "country": "no",
        "last_login": {"gte": "2024-01-31"},
        "code": "007",
        "n": 31,
        "f": 1000.0,
    }


def test_a_list_of_users_may_be_a_file(tmp_path: Path) -> None:
    """The file has one id per line; repeated ids, spaces and empty lines are dropped."""
    files: dict[str, str | bytes] = {
        G: "id: vip\nlist: groups/vip.csv\n",
        "groups/vip.csv": "\ufeffu1\r\n\r\n u2 \nu1\n",
    }
    assert load_definitions(folder(tmp_path, files)).groups[0].list == ("u1", "u2")


def test_a_list_may_lie_beside_its_group(tmp_path: Path) -> None:
    """The name is relative to the group's file, or else to the folder. A header is not a user."""
    files: dict[str, str | bytes] = {G: "id: vip\nlist: vip.csv\n", "groups/vip.csv": "user_id\nu1\n"}
    assert load_definitions(folder(tmp_path / "a", files)).groups[0].list == ("u1",)
    files["vip.csv"] = "u2\n"
    assert load_definitions(folder(tmp_path / "a", files)).groups[0].list == ("u1",)
    assert load_definitions(folder(tmp_path / "b", {G: files[G], "vip.csv": "u2\n"})).groups[0].list == ("u2",)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    """Otherwise, publishing it would end all its campaigns."""
    path = folder(tmp_path, {})
    (path / C).unlink()
    (path / "campaigns").rmdir()
    (path / "campaigns").symlink_to("campaigns")
    (problem,) = problems(path)
    assert (problem.file, problem.message) == ("campaigns", "cannot be read: Too many levels of symbolic links")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("@home", "text cannot begin with '@' here: put the text in quotes"),
        ("50% off: today", "the line has a second ': ', or one space too many: put the text in quotes, or align it"),
        ("*bold*", "'*' begins an alias, and no anchor has that name: put the text in quotes"),
        ("'it's here'", "something follows the end of the text: put all of it in quotes"),
        ("{{ customer.x }}, hi", "something follows the end of the text: put all of it in quotes"),
        ('"Hi', "a quote is opened but never closed: close it"),
        ("Hi\n body: x", "the line is indented differently from its neighbours: align it"),
        ("Hi\n  body x", "the name is not followed by ': ': write 'name: value', with a space"),
        ("Hi\n\tbody: x", "tabs cannot indent: use spaces"),
        ("Hi\n  theme: {accent: red: blue}", "an entry of {…} has a second ': ': put the text in quotes"),
    ],
)
def test_a_slip_in_yaml_says_what_to_do(tmp_path: Path, line: str, message: str) -> None:
    """The most common mistakes get advice instead of a parser's message."""
    (problem,) = problems(folder(tmp_path, {C: CAMPAIGN.replace("title: Hi", f"title: {line}")}))
    assert problem.message == f"is not YAML: {message}"


def test_liquid_without_quotes_is_told_from_a_map(tmp_path: Path) -> None:
    """To YAML, two braces are a map in a map."""
    (problem,) = problems(folder(tmp_path, {C: CAMPAIGN.replace("title: Hi", "title: {{ customer.x }}")}))
    assert problem.message == "the name of a field must be text; put text with {{ … }} in quotes"


def test_liquid_over_a_limit_has_its_place(tmp_path: Path) -> None:
    """A template that is too much for everyone is a problem at file, line and field, in no time."""
    title = "\"{% assign a = 'xxxxxxxxx' %}" + "{% assign a = a | replace: 'x', a %}" * 30 + '"'
    (problem,) = problems(folder(tmp_path, {C: CAMPAIGN.replace("title: Hi", f"title: {title}")}))
    assert (problem.file, problem.field) == (C, "content.title")
    assert problem.line == 1 + CAMPAIGN[: CAMPAIGN.index("title: Hi")].count("\n")
    assert problem.message.startswith("this Liquid takes too much time or memory: a value is longer than 262144")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [(b"u1\nu2,VIP\n", 2, "several columns"), (b"\n\n", 1, "contains no user id"), (b"u1\n\xff\n", 2, "not UTF-8")],
)
def test_problems_in_a_list_of_users(tmp_path: Path, text: bytes, line: int, message: str) -> None:
    """The problem has the line in the list, and the group still counts as defined."""
    (problem,) = problems(folder(tmp_path, {G: "id: vip\nlist: vip.csv\n", "vip.csv": text}))
    assert (problem.file, problem.line) == ("vip.csv", line)
    assert message in problem.message


def test_a_key_from_the_environment_must_be_usable(tmp_path: Path) -> None:
    """A check accepts a missing variable but not an empty one."""
    path = folder(tmp_path, {S: SITE + "  - {kind: secret, from_env: SECRET}\n"})
    assert load_definitions(path).site.keys[1].from_env == "SECRET"
    assert load_definitions(path, {"SECRET": "sk_1"}).site.keys[1].from_env == "SECRET"
    (problem,) = problems(path, {"SECRET": " "})
    assert (problem.line, problem.field) == (5, "keys[1].from_env")


def test_a_single_campaign_is_checked_with_its_folder(tmp_path: Path) -> None:
    """Its target groups must exist; problems of other files are not reported."""
    path = folder(tmp_path, {"campaigns/broken.yaml": "x", "groups/h.yaml": "x"})
    definitions = load_definitions(path / C)
    assert [campaign.id for campaign in definitions.campaigns] == ["three-wins"]
    assert (definitions.site.id, len(definitions.groups)) == ("demo", 1)
    (path / C).write_text(CAMPAIGN.replace("[vip]", "[vipp]"))
    (problem,) = problems(path / C)
    assert (problem.line, problem.field) == (3, "targets[0]")
    (path / "groups/h.yaml").write_text(GROUP)
    with pytest.raises(InvalidFiles, match="give the whole folder"):
        load_definitions(path / G)


def test_a_single_campaign_is_checked_alone(tmp_path: Path) -> None:
    """Without a folder, its target groups are not checked, but everything else is."""
    file = tmp_path / "c.yaml"
    file.write_text(CAMPAIGN)
    assert load_definitions(file).campaigns[0].id == "three-wins"
    file.write_text(CAMPAIGN.replace("10m", "10"))
    (problem,) = problems(file)
    assert (problem.line, problem.field) == (8, "trigger.within")


def test_problems_read_like_those_of_a_compiler(tmp_path: Path) -> None:
    """It has a line per problem: file:line:column: field: message."""
    path = folder(tmp_path, {C: CAMPAIGN.replace("10m", "10")})
    with pytest.raises(InvalidFiles) as caught:
        load_definitions(path)
    assert str(caught.value) == f"{path}/{C}:8:3: trigger.within: 10 has no unit: write 10s, 10m, 10h or 10d"
    assert (caught.value.code, caught.value.status) == ("invalid_files", 422)
