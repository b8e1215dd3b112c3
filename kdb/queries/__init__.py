"""One query on one image: binding it, evaluating its positions in rounds, and making its heat map."""
