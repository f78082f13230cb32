"""Calls to vendors, made after the transaction that decided them."""
