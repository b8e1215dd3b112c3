"""One query on one image: its clauses checked, its images found, its positions evaluated."""
