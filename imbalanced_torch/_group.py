"""What every module that works with other processes shares."""

import copy
from typing import Any

from torch import nn


class GroupMember(nn.Module):
    """A module with a `process_group`: its copies work with the same processes."""

    process_group: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> "GroupMember":
        # A group is a handle to processes and cannot be copied.
        memo[id(self.process_group)] = self.process_group
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__ = copy.deepcopy(self.__dict__, memo)
        return other
