# SPDX-License-Identifier: Apache-2.0
defmodule Consumer do
  @moduledoc "What a dependent application does first: messages to Python and back."

  @doc "Doubles each number in Python."
  def double(numbers) do
    {:ok, channel} = :py_channel.new(%{max_size: 65_536})

    worker = Task.async(fn -> serve(channel) end)

    doubled =
      for number <- numbers do
        :ok = :py_channel.send(channel, {:double, self(), number})

        receive do
          {:doubled, result} -> result
        end
      end

    :ok = :py_channel.close(channel)
    {:ok, :none} = Task.await(worker)
    doubled
  end

  # Python's names belong to the process that made them.
  defp serve(channel) do
    :ok =
      :py.exec("""
      import erlang

      def double(ref):
          for _, pid, number in erlang.Channel(ref):
              erlang.reply(pid, ("doubled", 2 * number))
      """)

    :py.eval("double(ref)", %{ref: channel})
  end
end
