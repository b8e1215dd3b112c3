"""From a bound query to a physical plan: a visible list of rules over a logical plan, a cost model, and lowering."""
