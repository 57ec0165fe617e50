"""Tools that let coding agents and shells query the collector, with answers of bounded size."""
