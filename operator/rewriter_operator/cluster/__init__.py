"""The only place with clients: reads the world, does one write."""
