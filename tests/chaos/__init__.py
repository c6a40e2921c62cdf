"""A known number of requests while workers are killed, and every place that claims to know the number."""
