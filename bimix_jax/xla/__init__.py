"""Private: compilation of programs, and small linear algebra inside them."""
