"""Who is let in and whose turn it is: shares of keys, lanes of sizes, budgets; no HTTP."""
