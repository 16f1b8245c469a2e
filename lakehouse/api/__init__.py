"""The HTTP service of the players: events come in, and what is told of players and games goes out."""
