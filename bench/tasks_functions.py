# SPDX-License-Identifier: Apache-2.0
"""The Python end of bench/tasks.escript."""

import math


async def sqrt(number):
    return math.sqrt(number)
