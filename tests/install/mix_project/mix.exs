# SPDX-License-Identifier: Apache-2.0
defmodule Consumer.MixProject do
  use Mix.Project

  def project do
    [
      app: :consumer,
      version: "0.1.0",
      elixir: "~> 1.14",
      deps: [{:penstock, path: System.fetch_env!("PENSTOCK_SOURCE"), manager: :rebar3}]
    ]
  end

  def application, do: [extra_applications: [:logger]]
end
