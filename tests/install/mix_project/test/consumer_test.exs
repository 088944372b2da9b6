# SPDX-License-Identifier: Apache-2.0
defmodule ConsumerTest do
  use ExUnit.Case

  test "messages go to Python and back" do
    assert Consumer.double([1, 2, 3]) == [2, 4, 6]
  end

  test "Python's errors arrive as tuples" do
    assert {:error, {:ZeroDivisionError, _}} = :py.eval("1 / 0")
  end
end
