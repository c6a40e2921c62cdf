"""What the collector costs: CPU, memory and disk for each role and overlay, and how long a disk lasts."""
