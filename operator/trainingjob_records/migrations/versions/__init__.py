"""The migrations, one in each file. A released migration is never edited."""
