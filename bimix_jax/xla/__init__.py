"""Private: how programs are compiled, and small linear algebra inside them."""
