"""Events of PostHog: what its libraries post to ``/capture/`` and ``/batch/``, and the lines of its batch exports.

Layout: https://posthog.com/docs/api/capture and https://posthog.com/docs/cdp/batch-exports/s3. Both have ``event``,
``properties``, ``timestamp``, ``uuid`` and ``distinct_id``; libraries may put the last one into the properties.
"""

from collections.abc import Mapping
from typing import Any

from gateway.adapters.items import Item, create_event, read_object, without_empty


def read_event(event: Mapping[str, Any]) -> list[Item]:
    """Return *event* as items. Raises `KeyError` for one without ``event`` or ``distinct_id``.

    ``$identify`` is a login. In ``$create_alias``, ``alias`` is the new id of a visitor; in ``$merge_dangerously``, it
    is the id that ends. PostHog marks the events of visitors with ``$is_identified: false`` or
    ``$process_person_profile: false``.
    """
    own, name = read_object(event.get("properties")), event["event"]
    who = event["distinct_id"] if event.get("distinct_id") not in (None, "") else own["distinct_id"]
    common = {"timestamp": event.get("timestamp"), "messageId": event.get("uuid") or event.get("message_id")}
    anonymous = own.get("$anon_distinct_id") or event.get("$anon_distinct_id")
    if name == "$identify" or (name == "$set" and "$set" in {**own, **event}):
        traits = read_object(own.get("$set") or event.get("$set"))
        login = {"anonymousId": anonymous if name == "$identify" else None, "traits": traits or None}
        return [without_empty({"type": "identify", "userId": who, **login, **common})]
    if name in ("$create_alias", "$merge_dangerously") and own.get("alias"):
        user, previous = (own["alias"], who) if name == "$create_alias" else (who, own["alias"])
        return [without_empty({"type": "alias", "userId": user, "previousId": previous, **common})]
    if name == "$groupidentify" and own.get("$group_key"):
        group = {"groupId": own["$group_key"], "traits": read_object(own.get("$group_set")) or None}
        return [without_empty({"type": "group", "userId": who, **group, **common})]
    is_visitor = (
        own.get("$is_identified") is False
        or own.get("$process_person_profile") is False
        or who == own.get("$device_id")
    )
    ids = {"visitor": who} if is_visitor else {"user": who}
    return [create_event(name, common["timestamp"], message_id=common["messageId"], properties=own, **ids)]
