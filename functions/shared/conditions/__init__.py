"""Conditions on attributes: the ``where`` of an event and the rule of a target group, in one language.

`parsing` validates a condition once and returns a `tree`. `predicate` compiles the tree to a function for event
attributes, and `mongodb` compiles it to a filter for customers. Both give the same result for every JSON value:

- A missing attribute makes every comparison false, including ``ne`` and ``not_in``. Null counts as missing.
- A value of another type does too: numbers compare with numbers and text with text; a boolean is not a number.
- ``contains`` looks for a part of a text or a member of a list. No other operator looks inside lists.
- ``matches`` searches: the pattern may match any part of the text. Use ``^...$`` to match all of it.
- Only MongoDB stores dates. There, an ISO-8601 operand also compares with stored dates, and a relative one (``-30d``)
  only with them. For the predicate, ISO-8601 is text, and a relative date never matches.
"""
