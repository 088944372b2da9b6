# SPDX-License-Identifier: Apache-2.0
"""What `make` runs: steps, their counts, and the tools behind them. Standard library only."""
