"""Reading Pinpoint exports: finding the endpoints, and merging those of a user into one customer."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from opportune.audiences.customers.pinpoint.endpoints import is_export
from opportune.audiences.customers.pinpoint.export import open_export
from opportune.audiences.customers.rows import Reject, Row
from opportune.audiences.customers.values import Single
from shared.errors import InvalidRequest

PHONE = {
    "Id": "e1",
    "ApplicationId": "app",
    "ChannelType": "SMS",
    "Address": "+436601234567",
    "EndpointStatus": "ACTIVE",
    "OptOut": "NONE",
    "CohortId": "12",
    "RequestId": "r",
    "CreationDate": "2024-01-01T00:00:00.000Z",
    "EffectiveDate": "2024-05-24T15:26:00.123Z",
    "Attributes": {"Interests": ["Music"], "old.tier": ["gold"]},
    "Metrics": {"visits": 3.0, "spent": 9.5},
    "Demographic": {"Timezone": "Europe/Vienna", "Locale": "de_AT", "Make": "LG", "AppVersion": None},
    "Location": {"Country": "AT", "PostalCode": "1010", "Latitude": 48.2},
    "User": {"UserId": "ada", "UserAttributes": {"FirstName": ["Ada"], "email": ["old@example.com"]}},
}


def endpoint(channel: str, address: str, day: int, **fields: Any) -> dict[str, Any]:
    """Return an endpoint of Ada, last changed on *day* of May."""
    at = f"2024-05-{day:02d}T00:00:00.000Z"
    user = {"UserId": "ada"}
    return {
        "Id": f"{channel}{day}",
        "ChannelType": channel,
        "Address": address,
        "EffectiveDate": at,
        "User": user,
    } | fields


def lines(*objects: Any) -> str:
    """Return objects as lines of JSON."""
    return "".join(json.dumps(each) + "\n" for each in objects)


def read(path: Path, *, endpoint_ids: bool = False) -> tuple[list[Row | Reject], dict[str, int]]:
    """Return the rows and rejects of an export, and how many endpoints were left out."""
    with open_export(path, endpoint_ids=endpoint_ids, progress=lambda _: None) as rows:
        return list(rows.rows), dict(rows.left_out)


def customer(folder: Path, *endpoints: Any) -> Row:
    """Return the only customer that *endpoints* make."""
    path = folder / "export.json"
    path.write_text(lines(*endpoints))
    ((row,), _) = read(path)
    assert isinstance(row, Row)
    return row


def test_an_endpoint_is_a_customer(tmp_path: Path) -> None:
    """All fields become attributes. A name with a dot, or one that the Engager reads, is changed."""
    row = customer(tmp_path, PHONE)
    assert (row.user, row.opted_out) == ("ada", ())
    assert row.attributes == {
        "Interests": "Music",
        "old_tier": "gold",
        "visits": 3,
        "spent": 9.5,
        "timezone": "Europe/Vienna",
        "locale": "de_AT",
        "make": "LG",
        "country": "AT",
        "postal_code": "1010",
        "latitude": 48.2,
        "FirstName": "Ada",
        "pinpoint_email": "old@example.com",
        "phone": "+436601234567",
    }
    assert isinstance(row.attributes["Interests"], Single)


def test_an_attribute_without_values_is_missing(tmp_path: Path) -> None:
    """Attributes of the endpoint or the user may be null. The endpoint and its opt-out still count."""
    nothing = {
        "Attributes": {"Color": None},
        "User": {"UserId": "ada", "UserAttributes": {"Tier": None, "Size": [None]}},
    }
    row = customer(tmp_path, endpoint("EMAIL", "a@example.com", 1, OptOut="ALL", **nothing))
    assert (row.attributes, row.opted_out) == ({"email": "a@example.com"}, ("email",))


def test_all_endpoints_of_a_user_are_one_customer(tmp_path: Path) -> None:
    """The customer gets the newest address of each channel and all devices.

    An attribute that has two values in any endpoint is a list for all customers.
    """
    mail = endpoint("EMAIL", "new@example.com", 9, Attributes={"Interests": ["Art", "Music"]})
    row = customer(
        tmp_path,
        mail,
        endpoint("EMAIL", "old@example.com", 2),
        PHONE,
        endpoint("APNS", "token-1", 3),
        endpoint("GCM", "token-2", 4, EndpointStatus="INACTIVE"),
        endpoint("GCM", "token-3", 5),
    )
    assert (row.attributes["email"], row.attributes["phone"]) == ("new@example.com", "+436601234567")
    assert row.attributes["devices"] == [
        {"platform": "APNS", "token": "token-1"},
        {"platform": "GCM", "token": "token-3"},
    ]
    # The phone endpoint of the 24th is newer than the e-mail endpoint of the 9th.
    assert row.attributes["Interests"] == ["Music"]
    assert len(row.records) == 6


@pytest.mark.parametrize("backwards", [False, True])
def test_the_order_of_the_export_does_not_matter(tmp_path: Path, backwards: bool) -> None:
    """Parts may come in any order. The endpoint that was changed last wins."""
    several = [endpoint("EMAIL", f"{day}@example.com", day, Attributes={"tier": [f"t{day}"]}) for day in (1, 2, 3)]
    row = customer(tmp_path, *(several[::-1] if backwards else several))
    assert (row.attributes["email"], row.attributes["tier"]) == ("3@example.com", "t3")


def test_user_attributes_take_precedence_over_those_of_a_device(tmp_path: Path) -> None:
    """They do so even if the endpoint of the device is newer."""
    old = endpoint("EMAIL", "a@example.com", 1, User={"UserId": "ada", "UserAttributes": {"tier": ["gold"]}})
    row = customer(tmp_path, old, endpoint("APNS", "t", 2, Attributes={"tier": ["none"]}))
    assert row.attributes["tier"] == "gold"


@pytest.mark.parametrize(
    ("endpoints", "email", "opted_out"),
    [
        ([("a", "ACTIVE", "NONE"), ("b", "ACTIVE", "ALL")], "a", ()),
        ([("a", "ACTIVE", "ALL"), ("b", "ACTIVE", "ALL")], "b", ("email",)),
        ([("a", "INACTIVE", "NONE"), ("b", "ACTIVE", "ALL")], "b", ("email",)),
        ([("a", "INACTIVE", "ALL"), ("b", "ACTIVE", "NONE")], "b", ()),
        ([("a", "INACTIVE", "ALL")], None, ("email",)),
        ([("a", "INACTIVE", "NONE")], None, ()),
    ],
)
def test_an_address_is_used_only_if_pinpoint_would_have_used_it(
    tmp_path: Path, endpoints: list[tuple[str, str, str]], email: str | None, opted_out: tuple[str, ...]
) -> None:
    """Inactive and opted-out endpoints give no address. If no other is left, the customer has opted out."""
    several = [
        endpoint("EMAIL", address, day, EndpointStatus=status, OptOut=opt_out)
        for day, (address, status, opt_out) in enumerate(endpoints, start=1)
    ]
    row = customer(tmp_path, *several)
    assert (row.attributes.get("email"), row.opted_out) == (email, opted_out)


def test_channels_opt_out_one_by_one(tmp_path: Path) -> None:
    """An opt-out applies to the channel of its endpoint. Channels that Opportune does not have are ignored."""
    row = customer(
        tmp_path,
        endpoint("EMAIL", "a@example.com", 1, OptOut="ALL"),
        endpoint("SMS", "+43660", 1),
        endpoint("ADM", "t", 1, OptOut="ALL"),
        endpoint("CUSTOM", "https://hook.example", 1, OptOut="ALL"),
        endpoint("VOICE", "+43660", 1, OptOut="ALL"),
        endpoint("IN_APP", "x", 1, OptOut="ALL"),
    )
    assert row.opted_out == ("email", "push", "webhook")
    assert row.attributes.keys() == {"email", "phone", "devices"}


def test_endpoints_without_a_user_are_left_out_or_use_their_own_id(tmp_path: Path) -> None:
    """They are counted but not rejected, because there is nothing to correct."""
    path = tmp_path / "export"
    unknown = {"Id": "e7", "ChannelType": "EMAIL", "Address": "x@example.com"}
    path.write_text(lines(PHONE, unknown, {**unknown, "User": {"UserId": " "}}))
    rows, left_out = read(path)
    assert [row.user for row in rows if isinstance(row, Row)] == ["ada"]
    assert left_out == {"endpoint(s) without a user id": 2}
    rows, left_out = read(path, endpoint_ids=True)
    assert [row.user for row in rows if isinstance(row, Row)] == ["ada", "e7"]
    assert left_out == {}


def test_all_parts_of_a_folder_are_read(tmp_path: Path) -> None:
    """Parts may be in nested folders and gzipped under any name. Hidden files and markers are not read."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "part-00000.gz").write_bytes(gzip.compress(lines(endpoint("EMAIL", "a@example.com", 1)).encode()))
    (tmp_path / "part-00001").write_bytes(gzip.compress((lines(PHONE) + "{cut\n").encode()))
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".DS_Store").write_text("x")
    rows, _ = read(tmp_path)
    (reject, row) = rows
    assert isinstance(row, Row)
    assert isinstance(reject, Reject)
    assert {row.attributes["email"], row.attributes["phone"]} == {"a@example.com", "+436601234567"}
    assert reject.records[0].place == "part-00001:2"
    assert sorted(record.place for record in row.records) == ["a/part-00000.gz:1", "part-00001:1"]


def test_a_segment_may_be_a_csv(tmp_path: Path) -> None:
    """Columns are paths. A column that appears twice has two values. Rejected rows become lines of JSON."""
    path = tmp_path / "segment.csv"
    path.write_text(
        "ChannelType,Address,Location.Country,Demographic.Platform,User.UserId,User.UserAttributes.Likes,"
        "User.UserAttributes.Likes,Metrics.visits\n"
        "SMS,+16045550182,CA,Android,u1,art,music,2\n"
        "EMAIL,x@example.com,,iOS,u2,art,,many\n"
        "EMAIL,y@example.com\n"
        "EMAIL,z@example.com,,,u3,art,,\n"
    )
    rows, _ = read(path)
    rejects = [row for row in rows if isinstance(row, Reject)]
    assert [(each.records[0].place, each.reason) for each in rejects] == [
        ("3", "Metrics.visits: expected a number, got 'many'"),
        ("4", "expected 8 columns, got 2"),
    ]
    first, last = (row for row in rows if isinstance(row, Row))
    assert first.attributes == {
        "country": "CA",
        "platform": "Android",
        "Likes": ["art", "music"],
        "visits": 2,
        "phone": "+16045550182",
    }
    assert last.attributes == {"Likes": ["art"], "email": "z@example.com"}


def test_a_segment_may_have_only_user_ids(tmp_path: Path) -> None:
    """A line of the CSV may have several of them."""
    path = tmp_path / "segment.csv"
    path.write_text("User.UserId\nu1 u2\nu3\n")
    rows, _ = read(path)
    assert [(row.user, row.attributes) for row in rows if isinstance(row, Row)] == [("u1", {}), ("u2", {}), ("u3", {})]
    path.write_text(lines({"User": {"UserId": "u1"}}))
    assert is_export(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "not a JSON object"),
        ("{cut", "not JSON"),
        ('{"ChannelType": "SMS", "User": {"UserId": "anon:1"}}', "must not begin with 'anon:'"),
        ('{"ChannelType": "SMS", "Attributes": {"a": "x"}, "User": {"UserId": "u"}}', "Attributes"),
        ('{"ChannelType": 7, "User": {"UserId": "u"}}', "ChannelType"),
    ],
)
def test_a_line_that_is_not_an_endpoint_is_reported(tmp_path: Path, line: str, reason: str) -> None:
    """Only the invalid line is rejected."""
    path = tmp_path / "export.json"
    path.write_text(lines(PHONE) + line + "\n" + lines({"ChannelType": "SMS", "User": {"UserId": "u9"}}))
    rows, _ = read(path)
    assert [row.user for row in rows if isinstance(row, Row)] == ["ada", "u9"]
    (reject,) = (row for row in rows if isinstance(row, Reject))
    assert reject.records[0].place == "2"
    assert reason in reject.reason


@pytest.mark.parametrize(
    ("text", "detected"),
    [
        (lines(PHONE), True),
        ('\ufeff{"User": {"UserId": "u"}}\n', True),
        ("ChannelType,Address,User.UserId\n", True),
        ("User.UserId\nu1\n", True),
        ("user_id,tier\n", False),
        ('{"user_id": "a", "User": 7}\n', False),
        ("[1]\n", False),
        ("", False),
    ],
)
def test_an_export_is_detected(tmp_path: Path, text: str, detected: bool) -> None:
    """The first line decides, not the name."""
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    assert is_export(path) == detected


def test_a_column_that_pinpoint_does_not_have_is_refused(tmp_path: Path) -> None:
    """The column is probably misspelt, so nothing is imported. A folder without files is refused too."""
    path = tmp_path / "segment.csv"
    path.write_text("ChannelType,Adress,User.UserId\nSMS,+43,u\n")
    with pytest.raises(InvalidRequest, match="'Adress' is not a column"):
        read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="no file"):
        read(tmp_path / "empty")
