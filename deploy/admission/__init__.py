"""Which requests come in, and in which order: shares of keys, lanes of sizes, budgets; no HTTP."""
