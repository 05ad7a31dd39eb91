"""Merge the endpoints of a user into one customer: attributes, addresses and opt-outs."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from opportune.audiences.customers.pinpoint.endpoints import Endpoint, EndpointRecord, Values
from opportune.audiences.customers.rows import Row
from opportune.audiences.customers.values import Single

# The Engager sends to these. They come only from endpoints; an attribute with such a name may be out of date.
ADDRESS_ATTRIBUTES = frozenset({"email", "phone", "push_endpoint", "devices"})
PUSH_TYPES = frozenset({"APNS", "APNS_SANDBOX", "GCM", "ADM", "BAIDU", "PUSH"})
CHANNEL_TYPES = {"EMAIL": "email", "SMS": "sms", "CUSTOM": "webhook"} | dict.fromkeys(PUSH_TYPES, "push")
DEMOGRAPHIC = {
    "AppVersion": "app_version",
    "Locale": "locale",
    "Make": "make",
    "Model": "model",
    "ModelVersion": "model_version",
    "Platform": "platform",
    "PlatformVersion": "platform_version",
    "Timezone": "timezone",
}
LOCATION = {
    "City": "city",
    "Country": "country",
    "Latitude": "latitude",
    "Longitude": "longitude",
    "PostalCode": "postal_code",
    "Region": "region",
}
_UNSTORABLE = str.maketrans({".": "_", "$": "_", "\0": "_"})


def make_customer(user: str, records: Sequence[EndpointRecord], lists: Collection[str]) -> Row:
    """Return the customer that *records*, all endpoints of *user* from the oldest to the newest, make.

    *lists*: names of attributes that are lists, even if the user has only one value.
    """
    endpoints = [each.endpoint for each in records]
    attributes: dict[str, Any] = {}
    # Later layers replace earlier ones: what is known of the user takes precedence over a device, even a newer one.
    for layer in (
        _demographic_and_location,
        lambda endpoint: _texts(endpoint.attributes, lists),
        _metrics,
        lambda endpoint: _texts(endpoint.user.user_attributes if endpoint.user else None, lists),
    ):
        for endpoint in endpoints:
            attributes |= layer(endpoint)
    addresses, opted_out = _resolve_channels(endpoints)
    return Row(user, attributes | addresses, tuple(each.record for each in records), opted_out)


def _resolve_channels(endpoints: Iterable[Endpoint]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the addresses of a user, and the channels that the user has opted out of.

    Pinpoint sends nothing to an endpoint that is inactive or has opted out. Of the others, the newest has the
    address. If a channel has no others and an endpoint has opted out, the user has opted out of the channel.
    """
    by_channel: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        if (channel := CHANNEL_TYPES.get(endpoint.channel_type or "")) is not None:
            by_channel.setdefault(channel, []).append(endpoint)
    addresses: dict[str, Any] = {}
    opted_out = []
    for channel, found in by_channel.items():
        active = [each for each in found if each.endpoint_status != "INACTIVE"]
        reachable = [each for each in active if each.opt_out != "ALL"]
        if not reachable and any(each.opt_out == "ALL" for each in found):
            opted_out.append(channel)
        addresses |= _addresses(channel, [each for each in reachable or active if each.address])
    return addresses, tuple(sorted(opted_out))


def _addresses(channel: str, endpoints: list[Endpoint]) -> dict[str, Any]:
    if not endpoints or channel == "webhook":
        return {}
    if channel == "push":
        return {"devices": [{"platform": each.channel_type, "token": each.address} for each in endpoints]}
    return {"email" if channel == "email" else "phone": endpoints[-1].address}


def _demographic_and_location(endpoint: Endpoint) -> dict[str, Any]:
    return {
        names[field]: value
        for fields, names in ((endpoint.demographic, DEMOGRAPHIC), (endpoint.location, LOCATION))
        for field, value in (fields or {}).items()
        if field in names and value not in (None, "")
    }


def _texts(attributes: Values | None, lists: Collection[str]) -> dict[str, Any]:
    texts_by_name: dict[str, Any] = {}
    for name, values in (attributes or {}).items():
        texts = [str(value) for value in values or () if value is not None and value != ""]
        if texts:
            texts_by_name[_storable_name(name)] = texts if name in lists else Single(texts[0])
    return texts_by_name


def _metrics(endpoint: Endpoint) -> dict[str, Any]:
    # All numbers in Pinpoint are floats, but a text should say 7 orders, not 7.0.
    return {
        _storable_name(name): int(value) if value.is_integer() and abs(value) < 2**53 else value
        for name, value in (endpoint.metrics or {}).items()
        if value is not None
    }


def _storable_name(name: str) -> str:
    """Return *name* without the characters that MongoDB does not allow, and different from the address attributes."""
    name = name.translate(_UNSTORABLE).strip() or "_"
    return f"pinpoint_{name}" if name in ADDRESS_ATTRIBUTES else name
