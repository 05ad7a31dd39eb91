"""Import python-liquid without babel, which takes longer than python-liquid itself.

python-liquid imports babel for filters that campaigns do not have. Import this module before `liquid`. The filters of
`shared.local_filters` import the real babel when they need it.
"""

import sys
from types import ModuleType


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


if "liquid" not in sys.modules:
    _stand_ins = {
        name: _StandIn(name)
        for name in ("babel", "babel.messages", "liquid.extra.filters.babel")
        if name not in sys.modules
    }
    sys.modules.update(_stand_ins)
    try:
        import liquid  # noqa: F401
    finally:
        for _name in _stand_ins:
            del sys.modules[_name]
