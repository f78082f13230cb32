"""MongoDB: documents, transactions, and many works in one transaction."""
