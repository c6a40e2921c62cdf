"""Series that the processes of one group share, so that any of them can show the numbers of all."""

from .opening import directories, open_store
from .runtime import Group, group_name, network
from .source import GroupSource
from .store import SharedStore

__all__ = ["Group", "GroupSource", "SharedStore", "directories", "group_name", "network", "open_store"]
