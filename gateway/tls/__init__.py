"""TLS on listeners: contexts, certificates by name, their change while the server runs."""
